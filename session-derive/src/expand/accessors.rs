//! `ShopAccessors` and its methods.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use super::written::written;
use super::{CratePath, outside};
use crate::model::{Field, Schema};

/// The name of the generated struct.
pub(super) fn name(schema: &Schema<'_>) -> Ident {
    format_ident!("{}Accessors", schema.ident, span = Span::call_site())
}

pub(super) fn expand(schema: &Schema<'_>, path: &CratePath) -> TokenStream {
    let (public, private) = (path.public(), path.private());
    let (vis, name) = (schema.vis, name(schema));
    let text = name.to_string();
    let methods = schema.fields.iter().flat_map(|field| methods(schema, field, path));
    let doc = format!(
        " What can be done with the fields of [`{0}`], through a `TypedSession<{0}>`.",
        schema.ident
    );
    quote! {
        #[doc = #doc]
        #vis struct #name {
            __session: #public::Session,
        }

        #[automatically_derived]
        #[allow(dead_code, deprecated, non_snake_case)]
        impl #name {
            #(#methods)*
        }

        #[automatically_derived]
        impl #private::Accessors for #name {
            fn new(__session: #public::Session) -> Self {
                Self { __session }
            }

            fn session(&self) -> &#public::Session {
                &self.__session
            }
        }

        #[automatically_derived]
        impl #private::Debug for #name {
            fn fmt(&self, __session_f: &mut #private::Formatter<'_>) -> #private::FmtResult {
                __session_f.write_str(#text)
            }
        }
    }
}

fn methods(schema: &Schema<'_>, field: &Field<'_>, path: &CratePath) -> Vec<TokenStream> {
    let method = |verb, docs, signature| method(schema, field, path, verb, docs, signature);
    let (key, absent) = (&field.name, absent(field));
    let read = format!(" Reads `{key}`; {absent}.");
    let pull = format!(" Reads `{key}` and removes it; {absent}.");
    if field.attrs.flash.is_none() {
        let put = format!(" Stores `{key}`.");
        let flash = format!(" Stores `{key}` for this request and the next; then it is absent.");
        return vec![
            method("get", read, Signature::Reads),
            method("put", put, Signature::Stores),
            method("pull", pull, Signature::Removes),
            method("flash", flash, Signature::Stores),
        ];
    }
    let flash = match field.is_until_read() {
        true => format!(" Stores `{key}` until a request has read it."),
        false => format!(" Stores `{key}` for this request and the next."),
    };
    let now = format!(" Stores `{key}` for this request only.");
    let keep = format!(" Keeps `{key}` for one more request.");
    vec![
        method("get", read, Signature::Reads),
        method("flash", flash, Signature::Stores),
        method("now", now, Signature::Stores),
        method("keep", keep, Signature::Changes),
        method("pull", pull, Signature::Removes),
    ]
}

/// What an absent key reads as, in words.
fn absent(field: &Field<'_>) -> String {
    match (&field.attrs.default, field.looks_optional()) {
        (Some(expr), _) => format!("when absent it is `{}`", written(expr)),
        (None, true) => "`None` when absent".to_owned(),
        (None, false) => "the type's default when absent".to_owned(),
    }
}

#[derive(Clone, Copy)]
enum Signature {
    Reads,
    Removes,
    Stores,
    Changes,
}

fn method(
    schema: &Schema<'_>,
    field: &Field<'_>,
    path: &CratePath,
    verb: &str,
    summary: String,
    signature: Signature,
) -> TokenStream {
    let private = path.private();
    let (vis, shop, constant) = (&field.vis, schema.ident, &field.constant);
    let name = Ident::new(&format!("{verb}_{}", field.plain_name()), field.ident.span());
    let verb = Ident::new(verb, Span::call_site());
    let ty = outside(field.ty, shop);
    let (parameter, argument, output) = match signature {
        Signature::Reads | Signature::Removes => (quote!(), quote!(), quote!(#ty)),
        Signature::Stores => (
            quote!(, __session_value: impl #private::StoreAs<#ty>),
            quote!(, __session_value),
            quote!(()),
        ),
        Signature::Changes => (quote!(), quote!(), quote!(())),
    };
    let errors = errors(field, signature);
    let docs = field.docs();
    let separator = (!docs.is_empty()).then(|| quote!(#[doc = ""]));
    let deprecated = field.deprecated();
    quote! {
        #[doc = #summary]
        #separator
        #(#docs)*
        #[doc = ""]
        #[doc = " # Errors"]
        #[doc = ""]
        #[doc = #errors]
        #deprecated
        #[inline]
        #vis fn #name(&self #parameter) -> #private::Result<#output> {
            #private::#verb(&self.__session, #shop::#constant #argument)
        }
    }
}

/// When an accessor fails, in words.
fn errors(field: &Field<'_>, signature: Signature) -> &'static str {
    match (signature, field.attrs.lenient) {
        (Signature::Reads, false) => " `ErrorKind::WrongType` when something else is stored.",
        (Signature::Reads, true) => " None: something else that is stored reads as the default.",
        (Signature::Removes, false) => {
            " `ErrorKind::WrongType` when something else is stored, which then stays; `ErrorKind::Committed` after the response."
        }
        (Signature::Stores, _) => {
            " `ErrorKind::Encode` when JSON cannot hold the value, `ErrorKind::Committed` after the response."
        }
        (Signature::Removes | Signature::Changes, _) => " `ErrorKind::Committed` after the response.",
    }
}
