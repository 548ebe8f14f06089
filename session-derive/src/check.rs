//! Rules that hold across attributes and fields.

use std::collections::HashMap;

use quote::ToTokens;
use syn::Type;

use crate::attr::Flash;
use crate::ctxt::Ctxt;
use crate::model::{Field, Schema};

/// Every rule; each adds an error wherever it is broken.
pub(crate) fn check(ctxt: &Ctxt, schema: &Schema<'_>) {
    names_are_not_reserved(ctxt, schema);
    names_are_unique(ctxt, schema);
    constants_are_unique(ctxt, schema);
    there_is_one_owner(ctxt, schema);
    an_owner_is_not_flash(ctxt, schema);
    values_are_owned(ctxt, schema);
}

fn names_are_not_reserved(ctxt: &Ctxt, schema: &Schema<'_>) {
    if let Some(prefix) = &schema.attrs.prefix
        && prefix.value().starts_with('_')
    {
        let name = prefix.value();
        let free = name.trim_start_matches('_');
        let message = "session keys that begin with `_` belong to the library";
        let message = match free {
            "" => format!("{message}: write `prefix = \"shop.\"`"),
            free => format!("{message}: write `prefix = \"{free}\"`"),
        };
        // Every field would repeat it.
        return ctxt.error_at(prefix, message);
    }
    for field in &schema.fields {
        if field.name.starts_with('_') {
            reserved(ctxt, field.name_tokens(), &field.name, "key");
        }
        for alias in &field.attrs.aliases {
            if alias.value().starts_with('_') {
                reserved(ctxt, alias, &alias.value(), "alias");
            }
        }
    }
}

fn reserved(ctxt: &Ctxt, at: impl ToTokens, name: &str, attribute: &str) {
    let free = match name.trim_start_matches('_') {
        "" => "name",
        free => free,
    };
    ctxt.error_at(
        at,
        format!("the session key `{name}` begins with `_`, as only the library's do: write `#[session({attribute} = \"{free}\")]`"),
    );
}

/// Keys and aliases of all fields together: each says where one value is looked for.
fn names_are_unique(ctxt: &Ctxt, schema: &Schema<'_>) {
    let mut seen: HashMap<String, &Field<'_>> = HashMap::new();
    // Keys first, so that an alias is what is wrong when both claim a name.
    for field in &schema.fields {
        if let Some(first) = seen.get(&field.name) {
            let message = format!(
                "`{}` is the key of the field `{}` already: write `#[session(key = \"..\")]` with another name",
                field.name, first.ident
            );
            ctxt.error_at(field.name_tokens(), message);
        } else {
            seen.insert(field.name.clone(), field);
        }
    }
    for field in &schema.fields {
        for alias in &field.attrs.aliases {
            let name = alias.value();
            match seen.get(&name) {
                Some(first) if first.ident == field.ident && name == field.name => {
                    ctxt.error_at(alias, format!("`{name}` is the key itself: remove the alias"));
                }
                Some(first) if first.ident == field.ident => {
                    ctxt.error_at(alias, format!("the alias `{name}` is written twice: remove one"));
                }
                Some(first) => {
                    let message = format!(
                        "`{name}` belongs to the field `{}` already: remove the alias, or give that field another key",
                        first.ident
                    );
                    ctxt.error_at(alias, message);
                }
                None => {
                    seen.insert(name, field);
                }
            }
        }
    }
}

fn constants_are_unique(ctxt: &Ctxt, schema: &Schema<'_>) {
    let mut seen: HashMap<String, &Field<'_>> = HashMap::new();
    for field in &schema.fields {
        let constant = field.constant.to_string();
        if let Some(first) = seen.get(&constant) {
            let message = format!(
                "the constant `{constant}` is the key of the field `{}` already: give one of them another name, and keep its key with `#[session(key = \"{}\")]`",
                first.ident, field.name
            );
            ctxt.error_at(field.ident, message);
        } else {
            seen.insert(constant, field);
        }
    }
}

fn there_is_one_owner(ctxt: &Ctxt, schema: &Schema<'_>) {
    let mut owners = schema.fields.iter().filter(|field| field.attrs.owner.is_some());
    let Some(first) = owners.next() else { return };
    for field in owners {
        let message = format!(
            "the field `{}` is the `owner` already: a session has one, remove the other",
            first.ident
        );
        ctxt.error_at(&field.attrs.owner, message);
    }
}

fn an_owner_is_not_flash(ctxt: &Ctxt, schema: &Schema<'_>) {
    for field in &schema.fields {
        if field.attrs.flash.is_some() {
            let owner = field.attrs.owner.iter();
            owner.for_each(|owner| {
                ctxt.error_at(
                    owner,
                    "an `owner` cannot be `flash`: whose session it is holds for longer than one request, remove `flash`",
                );
            });
        }
    }
}

/// The compiler would say so too, but not where.
fn values_are_owned(ctxt: &Ctxt, schema: &Schema<'_>) {
    for field in &schema.fields {
        if matches!(field.ty, Type::Reference(_)) && field.attrs.with.is_none() {
            ctxt.error_at(
                field.ty,
                "what a session stores cannot be borrowed from it: write an owned type, such as `String` for `&str`",
            );
        }
    }
}

impl Field<'_> {
    pub(crate) fn is_until_read(&self) -> bool {
        self.attrs.flash == Some(Flash::UntilRead)
    }
}
