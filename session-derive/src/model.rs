//! The schema and its fields, borrowed from the syntax tree, in the order of their declaration.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Expr, ExprLit, Fields, GenericParam, Lit, LitStr, Meta, Token, Type, Visibility,
};

use crate::attr::{FieldAttrs, StructAttrs};
use crate::ctxt::Ctxt;

/// A struct that is a schema.
pub(crate) struct Schema<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: &'a Visibility,
    pub(crate) attrs: StructAttrs,
    pub(crate) fields: Vec<Field<'a>>,
}

/// One of its fields.
pub(crate) struct Field<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: Visibility,
    pub(crate) ty: &'a Type,
    pub(crate) attrs: FieldAttrs,
    /// `#[doc]` and `#[deprecated]`, for what is generated.
    docs: Vec<&'a Attribute>,
    deprecated: Option<&'a Attribute>,
    /// The key in the stored session.
    pub(crate) name: String,
    /// The name of the key's constant.
    pub(crate) constant: Ident,
}

impl<'a> Schema<'a> {
    /// `None`, with an error, for what is no struct with named fields.
    pub(crate) fn read(ctxt: &Ctxt, input: &'a DeriveInput, attrs: StructAttrs) -> Option<Self> {
        let concrete = has_no_parameters(ctxt, input);
        let fields = named_fields(ctxt, input)?;
        let fields = fields
            .iter()
            .filter_map(|field| Field::read(ctxt, &attrs, field))
            .collect();
        concrete.then_some(Self {
            ident: &input.ident,
            vis: &input.vis,
            attrs,
            fields,
        })
    }
}

impl<'a> Field<'a> {
    fn read(ctxt: &Ctxt, schema: &StructAttrs, field: &'a syn::Field) -> Option<Self> {
        let ident = field.ident.as_ref()?;
        let attrs = FieldAttrs::read(ctxt, &field.attrs);
        let plain = ident.unraw().to_string();
        let base = match (&attrs.key, schema.rename_all) {
            (Some(key), _) => key.value(),
            (None, Some(rule)) => rule.apply(&plain),
            (None, None) => plain.clone(),
        };
        let prefix = schema.prefix.as_ref().map(LitStr::value).unwrap_or_default();
        let named = |name: &'static str| field.attrs.iter().filter(move |attr| attr.path().is_ident(name));
        Some(Self {
            ident,
            vis: generated(&field.vis),
            ty: &field.ty,
            attrs,
            docs: named("doc").collect(),
            deprecated: named("deprecated").next(),
            name: prefix + &base,
            constant: Ident::new(&plain.to_uppercase(), ident.span()),
        })
    }

    /// The field's name without `r#`, for the names of its accessors.
    pub(crate) fn plain_name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The tokens that give the key its name, for errors about it.
    pub(crate) fn name_tokens(&self) -> &dyn ToTokens {
        match &self.attrs.key {
            Some(key) => key,
            None => self.ident,
        }
    }

    /// What generated items take over from the field.
    pub(crate) fn docs(&self) -> &[&'a Attribute] {
        &self.docs
    }

    pub(crate) fn deprecated(&self) -> Option<&'a Attribute> {
        self.deprecated
    }

    /// The first line of the documentation.
    pub(crate) fn doc_line(&self) -> String {
        let mut lines = self.docs.iter().filter_map(|attr| doc_text(attr));
        let line = lines.find(|text| !text.trim().is_empty()).unwrap_or_default();
        line.trim().lines().next().unwrap_or_default().trim_end().to_owned()
    }

    /// Whether the type is written as an `Option`; for words only, because a macro sees no types.
    pub(crate) fn looks_optional(&self) -> bool {
        matches!(self.ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
    }
}

fn doc_text(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(doc) = &attr.meta else { return None };
    match &doc.value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) => Some(text.value()),
        _ => None,
    }
}

fn named_fields<'a>(ctxt: &Ctxt, input: &'a DeriveInput) -> Option<&'a Fields> {
    let what = match &input.data {
        Data::Struct(data) => match &data.fields {
            fields @ Fields::Named(_) => return Some(fields),
            Fields::Unnamed(fields) => {
                let message = "a session schema needs named fields, because their names are its keys: write `struct {..} { name: Type }`";
                ctxt.error_at(fields, message.replace("{..}", &input.ident.to_string()));
                return None;
            }
            Fields::Unit => {
                let message =
                    "a session schema needs fields, which are its keys: write `{ name: Type }` after the name";
                ctxt.error_at(&input.ident, message);
                return None;
            }
        },
        Data::Enum(data) => ("an enum", data.enum_token.into_token_stream()),
        Data::Union(data) => ("a union", data.union_token.into_token_stream()),
    };
    let message = format!(
        "{} cannot be a session schema: write a `struct` whose fields are the keys",
        what.0
    );
    ctxt.error_at(what.1, message);
    None
}

/// Whether the struct has no parameters; an error for each that it has.
fn has_no_parameters(ctxt: &Ctxt, input: &DeriveInput) -> bool {
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(lifetime) => ctxt.error_at(
                lifetime,
                "a session schema cannot borrow, because its values outlive the request: write owned types, such as `String` for `&str`",
            ),
            GenericParam::Type(parameter) => ctxt.error_at(
                parameter,
                "a session schema has no type parameters, because its keys are constants: write the type itself",
            ),
            GenericParam::Const(parameter) => ctxt.error_at(
                parameter,
                "a session schema has no parameters, because its keys are constants: write the number itself",
            ),
        }
    }
    input.generics.params.is_empty()
}

/// The same visibility, as a generated word: an item counts as written by whoever wrote the first word of it.
fn generated(vis: &Visibility) -> Visibility {
    match vis {
        Visibility::Public(word) => Visibility::Public(Token![pub](here(word))),
        other => other.clone(),
    }
}

/// The place of what a generated item comes from, for errors; it is generated all the same, so that lints on what people write
/// leave it alone.
pub(crate) fn here(at: &impl ToTokens) -> Span {
    use syn::spanned::Spanned;
    Span::call_site().located_at(at.span())
}
