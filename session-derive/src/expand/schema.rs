//! `impl SessionSchema for Shop`.

use proc_macro2::TokenStream;
use quote::quote;

use super::written::written;
use super::{CratePath, accessors};
use crate::model::{Field, Schema};

pub(super) fn expand(schema: &Schema<'_>, path: &CratePath) -> TokenStream {
    let (public, private) = (path.public(), path.private());
    let ident = schema.ident;
    let name = ident.to_string();
    let accessors = accessors::name(schema);
    let infos = schema.fields.iter().map(info);
    let fields: Vec<_> = schema.fields.iter().map(|field| field.ident).collect();
    let constants: Vec<_> = schema.fields.iter().map(|field| &field.constant).collect();
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #public::SessionSchema for #ident {
            const NAME: &'static #private::str = #name;

            const KEYS: &'static [#public::KeyInfo] = &[#(#infos),*];

            type Accessors = #accessors;

            fn read(__session_source: #private::Source<'_>) -> #private::Result<Self> {
                #private::Ok(Self {
                    #(#fields: __session_source.field(Self::#constants)?,)*
                })
            }

            fn write(&self, __session_fill: &mut #private::Fill) -> #private::Result<()> {
                #(__session_fill.field(Self::#constants, &self.#fields)?;)*
                #private::Ok(())
            }
        }
    }
}

fn info(field: &Field<'_>) -> TokenStream {
    let (constant, ty, doc) = (&field.constant, written(field.ty), field.doc_line());
    quote!(Self::#constant.info(#ty, #doc))
}
