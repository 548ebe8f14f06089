//! `Shop::CART` and its like.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Expr, ExprLit, Lit};

use super::{CratePath, outside};
use crate::model::{Field, Schema, here};

pub(super) fn expand(schema: &Schema<'_>, path: &CratePath) -> TokenStream {
    let ident = schema.ident;
    let keys = schema.fields.iter().map(|field| key(schema, field, path));
    quote! {
        #[automatically_derived]
        #[allow(dead_code, deprecated, non_upper_case_globals, clippy::type_complexity)]
        impl #ident {
            #(#keys)*
        }
    }
}

fn key(schema: &Schema<'_>, field: &Field<'_>, path: &CratePath) -> TokenStream {
    let public = path.public();
    let (ident, vis, constant) = (schema.ident, &field.vis, &field.constant);
    let ty = outside(field.ty, ident);
    let docs = docs(field);
    let deprecated = field.deprecated();
    let kind = field.attrs.flash.map(|_| quote!(, #public::Flash));
    let definition = definition(field, &ty, path);
    quote! {
        #docs
        #deprecated
        #vis const #constant: #public::Key<#ident, #ty #kind> = #public::Key::new(#definition);
    }
}

fn docs(field: &Field<'_>) -> TokenStream {
    let docs = field.docs();
    let separator = (!docs.is_empty()).then(|| quote!(#[doc = ""]));
    let flash = match (field.attrs.flash.is_some(), field.is_until_read()) {
        (false, _) => "",
        (true, false) => ", whose value is shown once",
        (true, true) => ", whose value is kept until it was read",
    };
    let line = format!(" The session key `{}`{flash}.", field.name);
    quote!(#(#docs)* #separator #[doc = #line])
}

/// The expression that makes the key's `Field`.
fn definition(field: &Field<'_>, ty: &TokenStream, path: &CratePath) -> TokenStream {
    let name = &field.name;
    let default = default(field, ty, path);
    let base = match &field.attrs.with {
        Some(module) => {
            let private = path.private_at(here(module));
            quote_spanned! {here(module)=>
                #private::Field::with(
                    #name,
                    #default,
                    |__session_value, __session_writer| #module::serialize(__session_value, __session_writer),
                    |__session_reader| #module::deserialize(__session_reader),
                )
            }
        }
        // At the type, because that is where a missing `Serialize` is missed.
        None => {
            let private = path.private_at(here(field.ty));
            quote_spanned!(here(field.ty)=> #private::Field::<#ty>::new(#name, #default))
        }
    };
    let aliases = &field.attrs.aliases;
    let aliases = (!aliases.is_empty()).then(|| quote!(.aliases(&[#(#aliases),*])));
    let owner = field.attrs.owner.as_ref().map(|_| quote!(.owner()));
    let until_read = field.is_until_read().then(|| quote!(.until_read()));
    let own_default = field.attrs.default.as_ref().map(|_| quote!(.own_default()));
    let lenient = field.attrs.lenient.then(|| quote!(.lenient()));
    quote!(#base #aliases #owner #until_read #own_default #lenient)
}

/// A function that makes the value of an absent key.
fn default(field: &Field<'_>, ty: &TokenStream, path: &CratePath) -> TokenStream {
    match &field.attrs.default {
        None => {
            let private = path.private_at(here(field.ty));
            quote_spanned!(here(field.ty)=> <#ty as #private::Default>::default)
        }
        Some(text) if is_text(text) => {
            let private = path.private_at(here(text));
            quote_spanned!(here(text)=> || #private::FromText::from_text(#text))
        }
        Some(expr) => quote!(|| #expr),
    }
}

/// A literal in quotes stands for a `String` too.
fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Lit(ExprLit { lit: Lit::Str(_), .. }))
}
