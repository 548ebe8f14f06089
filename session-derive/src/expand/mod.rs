//! The generated code: keys, accessors, and the schema's own implementation.
//!
//! It names everything of the library through its crate path and `private`, everything else as the user wrote it, and does nothing
//! itself but call.

mod accessors;
mod keys;
mod schema;
mod written;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};

use crate::attr::StructAttrs;
use crate::model::Schema;

pub(crate) fn expand(schema: &Schema<'_>, path: &CratePath) -> TokenStream {
    let keys = keys::expand(schema, path);
    let accessors = accessors::expand(schema, path);
    let schema = schema::expand(schema, path);
    quote!(#keys #accessors #schema)
}

/// Where the library is: `::session_schema`, or what `#[session(crate = "..")]` says.
pub(crate) struct CratePath(TokenStream);

impl CratePath {
    pub(crate) fn of(attrs: &StructAttrs) -> Self {
        Self(match &attrs.crate_path {
            Some(path) => path.to_token_stream(),
            None => quote!(::session_schema),
        })
    }

    /// The path of what is public.
    pub(crate) fn public(&self) -> &TokenStream {
        &self.0
    }

    /// The same as [`private`](Self::private), said to stand at some place: an error shows all places that its tokens have.
    fn private_at(&self, place: Span) -> TokenStream {
        let moved = self.private().into_iter().map(|mut token| {
            token.set_span(place);
            token
        });
        moved.collect()
    }

    /// The path of what only generated code uses.
    pub(crate) fn private(&self) -> TokenStream {
        let path = &self.0;
        quote!(#path::private)
    }
}

/// A type as it reads outside the struct, where `Self` is another one.
fn outside(ty: &impl ToTokens, schema: &Ident) -> TokenStream {
    replace_self(ty.to_token_stream(), schema)
}

fn replace_self(tokens: TokenStream, schema: &Ident) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) if ident == "Self" => Ident::new(&schema.to_string(), ident.span()).into(),
        TokenTree::Group(group) => {
            let mut new = proc_macro2::Group::new(group.delimiter(), replace_self(group.stream(), schema));
            new.set_span(group.span());
            new.into()
        }
        other => other,
    };
    tokens.into_iter().map(replace).collect()
}
