//! What is expanded beside errors, so that they are not followed by others that they caused.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, GenericParam, Lifetime, parse_quote};

use crate::model::Schema;

/// Gives constants that would be defined twice a name of their own. Everything else is expanded as far as it was understood.
pub(crate) fn without_repetition(schema: &mut Schema<'_>) {
    let mut seen = HashSet::new();
    for field in &mut schema.fields {
        while !seen.insert(field.constant.to_string()) {
            field.constant = format_ident!("{}_", field.constant);
        }
    }
}

/// An implementation without keys, for what cannot be a schema at all.
pub(crate) fn stub(input: &DeriveInput) -> TokenStream {
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!('static));
    }
    let ident = &input.ident;
    let name = ident.to_string();
    let arguments = generics.params.iter().map(|parameter| match parameter {
        GenericParam::Lifetime(_) => {
            let forever: Lifetime = parse_quote!('static);
            quote!(#forever)
        }
        GenericParam::Type(parameter) => {
            let ident = &parameter.ident;
            quote!(#ident)
        }
        GenericParam::Const(parameter) => {
            let ident = &parameter.ident;
            quote!(#ident)
        }
    });
    let arguments = quote!(<#(#arguments),*>);
    generics.params = generics
        .params
        .into_iter()
        .filter(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
        .collect();
    let (parameters, _, conditions) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters ::session_schema::SessionSchema for #ident #arguments #conditions {
            const NAME: &'static ::session_schema::private::str = #name;
            const KEYS: &'static [::session_schema::KeyInfo] = &[];
            type Accessors = ::session_schema::private::NoAccessors;
            fn read(_: ::session_schema::private::Source<'_>) -> ::session_schema::private::Result<Self> {
                ::session_schema::private::not_compiled()
            }
            fn write(&self, _: &mut ::session_schema::private::Fill) -> ::session_schema::private::Result<()> {
                ::session_schema::private::not_compiled()
            }
        }
    }
}
