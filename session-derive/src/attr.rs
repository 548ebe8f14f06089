//! The attributes, as they are written. Each value keeps its tokens, for errors that point at them.

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitStr, Meta, Path, Token, token};

use crate::case::{RULES, RenameRule};
use crate::ctxt::Ctxt;

const ON_FIELDS: &[&str] = &["key", "default", "flash", "owner", "alias", "with", "invalid"];
const ON_STRUCTS: &[&str] = &["prefix", "rename_all", "crate"];

/// What other libraries call it.
const SYNONYMS: &[(&str, &str)] = &[
    ("rename", "key"),
    ("rename", "rename_all"),
    ("name", "key"),
    ("serde_with", "with"),
    ("serialize_with", "with"),
    ("deserialize_with", "with"),
    ("once", "flash"),
    ("user", "owner"),
];

/// What is written above the struct.
#[derive(Default)]
pub(crate) struct StructAttrs {
    pub(crate) prefix: Option<LitStr>,
    pub(crate) rename_all: Option<RenameRule>,
    pub(crate) crate_path: Option<Path>,
}

/// What is written above a field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    pub(crate) key: Option<LitStr>,
    /// `default` alone says what would hold anyway, and leaves nothing here.
    pub(crate) default: Option<Expr>,
    pub(crate) flash: Option<Flash>,
    /// The word `owner`.
    pub(crate) owner: Option<Ident>,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) with: Option<Path>,
    pub(crate) lenient: bool,
}

/// `flash`, or `flash = "until_read"`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flash {
    NextRequest,
    UntilRead,
}

impl StructAttrs {
    pub(crate) fn read(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut read = Self::default();
        for item in once_each(ctxt, items(ctxt, attrs), &[]) {
            match item.name.unraw().to_string().as_str() {
                "prefix" => read.prefix = item.text(ctxt, "\"shop.\"").filter(|text| not_empty(ctxt, text)),
                "rename_all" => read.rename_all = item.text(ctxt, "\"camelCase\"").and_then(|text| rule(ctxt, &text)),
                "crate" => read.crate_path = item.path(ctxt, "\"path::to::session_schema\""),
                name => unknown(ctxt, &item.name, name, "struct", ON_STRUCTS, ON_FIELDS),
            }
        }
        read
    }
}

impl FieldAttrs {
    pub(crate) fn read(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut read = Self::default();
        for item in once_each(ctxt, items(ctxt, attrs), &["alias"]) {
            match item.name.unraw().to_string().as_str() {
                "key" => read.key = item.text(ctxt, "\"name\"").filter(|text| not_empty(ctxt, text)),
                "default" => read.default = item.value,
                "flash" => read.flash = item.flash(ctxt),
                "owner" => read.owner = item.flag(ctxt),
                "alias" => read
                    .aliases
                    .extend(item.text(ctxt, "\"old_name\"").filter(|text| not_empty(ctxt, text))),
                "with" => read.with = item.path(ctxt, "\"path::to::module\""),
                "invalid" => read.lenient = item.is_lenient(ctxt),
                name => unknown(ctxt, &item.name, name, "field", ON_FIELDS, ON_STRUCTS),
            }
        }
        read
    }
}

/// `name` or `name = value`.
struct Item {
    name: Ident,
    value: Option<Expr>,
}

impl Item {
    /// The text on the right, which may not be missing.
    fn text(&self, ctxt: &Ctxt, example: &str) -> Option<LitStr> {
        let name = self.name.unraw();
        match &self.value {
            Some(Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            })) => Some(text.clone()),
            Some(other) => {
                ctxt.error_at(other, format!("`{name}` takes a string: write `{name} = {example}`"));
                None
            }
            None => {
                ctxt.error_at(
                    &self.name,
                    format!("`{name}` needs a value: write `{name} = {example}`"),
                );
                None
            }
        }
    }

    /// The path in the text on the right.
    fn path(&self, ctxt: &Ctxt, example: &str) -> Option<Path> {
        let text = self.text(ctxt, example)?;
        let path = text.parse_with(Path::parse_mod_style).ok();
        if path.is_none() {
            let name = self.name.unraw();
            let found = text.value();
            ctxt.error_at(text, format!("`{found}` is not a path: write `{name} = {example}`"));
        }
        path
    }

    /// The word itself, which stands alone.
    fn flag(&self, ctxt: &Ctxt) -> Option<Ident> {
        let name = &self.name;
        if let Some(value) = &self.value {
            ctxt.error_at(value, format!("`{name}` takes no value: write `{name}` alone"));
        }
        Some(name.clone())
    }

    fn flash(&self, ctxt: &Ctxt) -> Option<Flash> {
        match &self.value {
            None => Some(Flash::NextRequest),
            Some(value) if is_text(value, "until_read") => Some(Flash::UntilRead),
            Some(value) => {
                ctxt.error_at(value, "`flash` is written alone or as `flash = \"until_read\"`");
                Some(Flash::NextRequest)
            }
        }
    }

    fn is_lenient(&self, ctxt: &Ctxt) -> bool {
        match &self.value {
            Some(value) if is_text(value, "error") => false,
            Some(value) if is_text(value, "default") => true,
            wrong => {
                let message = "`invalid` is `\"error\"` or `\"default\"`: write `invalid = \"default\"`";
                match wrong {
                    Some(value) => ctxt.error_at(value, message),
                    None => ctxt.error_at(&self.name, message),
                }
                false
            }
        }
    }
}

/// Everything in the `#[session(..)]` attributes that can be read; what cannot is an error, and is skipped.
fn items(ctxt: &Ctxt, attrs: &[Attribute]) -> Vec<Item> {
    let mut items = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("session")) {
        match &attr.meta {
            Meta::List(list) => {
                let parser = |input: ParseStream<'_>| {
                    items_in(ctxt, input, &mut items);
                    Ok(())
                };
                if let Err(error) = parser.parse2(list.tokens.clone()) {
                    ctxt.add(error);
                }
            }
            other => ctxt.error_at(
                other,
                "`session` takes its attributes in parentheses: write `#[session(..)]`",
            ),
        }
    }
    items
}

fn items_in(ctxt: &Ctxt, input: ParseStream<'_>, items: &mut Vec<Item>) {
    while !input.is_empty() {
        match item(input) {
            Ok(item) => items.push(item),
            Err(error) => {
                ctxt.add(error);
                skip(input);
            }
        }
        if input.is_empty() || parse_comma(input) {
            continue;
        }
        ctxt.add(input.error("expected a comma before this"));
        if !input.peek(Ident::peek_any) {
            skip(input);
            parse_comma(input);
        }
    }
}

/// `name` or `name = value`. What follows is left where it is.
fn item(input: ParseStream<'_>) -> syn::Result<Item> {
    if !input.peek(Ident::peek_any) {
        let message = "expected the name of an attribute: write `name` or `name = value`, such as `key = \"name\"`";
        return Err(input.error(message));
    }
    let name = input.call(Ident::parse_any)?;
    if input.peek(token::Paren) {
        let message = format!("`{name}` takes no parentheses: write `{name}` or `{name} = value`");
        return Err(input.error(message));
    }
    if !input.peek(Token![=]) {
        return Ok(Item { name, value: None });
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        let message = format!("expected a value after `{name} =`");
        return Err(syn::Error::new_spanned(name, message));
    }
    let start = input.cursor().token_tree().map(|(token, _)| token);
    let value = input.parse().map_err(|_| {
        let message = format!("expected an expression after `{name} =`");
        syn::Error::new_spanned(start, message)
    })?;
    Ok(Item {
        name,
        value: Some(value),
    })
}

/// Whether there was one.
fn parse_comma(input: ParseStream<'_>) -> bool {
    matches!(input.parse::<Option<Token![,]>>(), Ok(Some(_)))
}

/// To the next comma.
fn skip(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        drop(input.parse::<TokenTree>());
    }
}

/// Leaves out what is written a second time, with an error.
fn once_each(ctxt: &Ctxt, items: Vec<Item>, repeatable: &[&str]) -> Vec<Item> {
    let mut seen = Vec::new();
    let mut kept = Vec::new();
    for item in items {
        let name = item.name.unraw().to_string();
        if seen.contains(&name) {
            ctxt.error_at(&item.name, format!("`{name}` is written twice: remove one"));
            continue;
        }
        if !repeatable.contains(&name.as_str()) {
            seen.push(name);
        }
        kept.push(item);
    }
    kept
}

fn unknown(ctxt: &Ctxt, at: impl ToTokens, name: &str, place: &str, known: &[&str], elsewhere: &[&str]) {
    if elsewhere.contains(&name) {
        let other = if place == "field" { "struct" } else { "field" };
        return ctxt.error_at(
            at,
            format!("`{name}` is an attribute of a {other}: write it above the {other}"),
        );
    }
    if name == "skip" && place == "field" {
        let message = "every field of a schema is a key of the session: move what is not stored to a struct of its own";
        return ctxt.error_at(at, message);
    }
    let message = match nearest(name, known) {
        Some(near) => format!("unknown attribute `{name}`: did you mean `{near}`?"),
        None => format!("unknown attribute `{name}`: a {place} takes {}", list(known)),
    };
    ctxt.error_at(at, message);
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let mut meant = SYNONYMS.iter().filter(|(synonym, _)| *synonym == name);
    if let Some((_, meant)) = meant.find(|(_, meant)| known.contains(meant)) {
        return Some(meant);
    }
    let near = known.iter().map(|known| (distance(name, known), *known)).min()?;
    (near.0 <= 1 + near.1.len() / 4).then_some(near.1)
}

/// How many letters have to be added, removed or replaced to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

fn rule(ctxt: &Ctxt, text: &LitStr) -> Option<RenameRule> {
    let rule = RenameRule::named(&text.value());
    if rule.is_none() {
        let names: Vec<_> = RULES.iter().map(|(name, _)| *name).collect();
        let found = text.value();
        ctxt.error_at(
            text,
            format!("unknown rule `{found}` for `rename_all`: write one of {}", list(&names)),
        );
    }
    rule
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn is_text(value: &Expr, text: &str) -> bool {
    matches!(value, Expr::Lit(ExprLit { lit: Lit::Str(found), .. }) if found.value() == text)
}

fn not_empty(ctxt: &Ctxt, text: &LitStr) -> bool {
    let empty = text.value().is_empty();
    if empty {
        ctxt.error_at(text, "expected a name between the quotes");
    }
    !empty
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn field(attr: Attribute) -> (FieldAttrs, Vec<String>) {
        let ctxt = Ctxt::new();
        let read = FieldAttrs::read(&ctxt, &[attr]);
        let errors = ctxt.check().into_iter().flatten();
        (read, errors.map(|error| error.to_string()).collect())
    }

    #[test]
    fn every_attribute_of_a_field_is_read() {
        let (read, errors) = field(parse_quote!(#[session(
            key = "a", default = f::<A, B>(1, 2), flash = "until_read", owner,
            alias = "b", alias = "c", with = "m::n", invalid = "default",
        )]));
        assert_eq!(errors, [""; 0]);
        assert_eq!(read.key.unwrap().value(), "a");
        assert!(read.default.is_some() && read.owner.is_some() && read.with.is_some() && read.lenient);
        assert!(read.flash == Some(Flash::UntilRead));
        assert_eq!(read.aliases.len(), 2);
    }

    #[test]
    fn an_error_does_not_hide_the_next() {
        let (read, errors) =
            field(parse_quote!(#[session("x", key, owner(1), flash = 1, = 2, defualt = 3, key = "a")]));
        assert_eq!(errors.len(), 7, "{errors:?}");
        assert!(read.flash.is_some());
    }

    #[test]
    fn the_nearest_name_is_suggested_if_it_is_near() {
        for (typo, meant) in [
            ("defualt", Some("default")),
            ("flsh", Some("flash")),
            ("aliases", Some("alias")),
            ("rename", Some("key")),
            ("rename_all", None),
            ("encrypted", None),
        ] {
            assert_eq!(nearest(typo, ON_FIELDS), meant, "{typo}");
        }
    }

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
