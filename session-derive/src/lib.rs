//! The derive macro of [`session-schema`](https://docs.rs/session-schema). Use it through that crate.

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod attr;
mod case;
mod check;
mod ctxt;
mod expand;
mod fallback;
mod model;

/// Docs.
#[proc_macro_derive(SessionSchema, attributes(session))]
pub fn session_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive(&input).into()
}

fn derive(input: &DeriveInput) -> proc_macro2::TokenStream {
    let ctxt = ctxt::Ctxt::new();
    let schema = model::Schema::read(&ctxt, input);
    if let Some(schema) = &schema {
        check::check(&ctxt, schema);
    }
    let errors = ctxt.check().map(syn::Error::into_compile_error);
    let code = match schema {
        Some(mut schema) => {
            if errors.is_some() {
                fallback::without_repetition(&mut schema);
            }
            expand::expand(&schema)
        }
        None => fallback::stub(input),
    };
    quote::quote!(#errors #code)
}
