//! What is expanded beside errors, so that they are not followed by others that they caused.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, GenericParam, Lifetime, Type, parse_quote};

use crate::expand::CratePath;
use crate::model::Schema;

/// Gives constants that would be defined twice a name of their own, and borrowed values a module. Everything else is expanded as
/// far as it was understood.
pub(crate) fn mend(schema: &mut Schema<'_>, path: &CratePath) {
    let private = path.private();
    let mut seen = HashSet::new();
    for field in &mut schema.fields {
        if matches!(field.ty, Type::Reference(_)) {
            field.attrs.with = Some(parse_quote!(#private::not_compiled));
        }
        while !seen.insert(field.constant.to_string()) {
            field.constant = format_ident!("{}_", field.constant);
        }
    }
}

/// An implementation without keys, for what cannot be a schema at all.
pub(crate) fn stub(input: &DeriveInput, path: &CratePath) -> TokenStream {
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
    let (public, private) = (path.public(), path.private());
    let (parameters, _, conditions) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters #public::SessionSchema for #ident #arguments #conditions {
            const NAME: &'static #private::str = #name;
            const KEYS: &'static [#public::KeyInfo] = &[];
            type Accessors = #private::NoAccessors;
            fn read(_: #private::Source<'_>) -> #private::Result<Self> {
                #private::not_compiled::nothing()
            }
            fn write(&self, _: &mut #private::Fill) -> #private::Result<()> {
                #private::not_compiled::nothing()
            }
        }
    }
}
