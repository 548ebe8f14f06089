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

/// Makes a struct the schema of a session: each field a typed key, with accessors.
///
/// ```
/// use session_schema::{Flash, Key, SessionSchema, TypedSession};
///
/// #[derive(SessionSchema)]
/// struct Shop {
///     /// The signed-in customer.
///     #[session(owner)]
///     user_id: Option<u64>,
///     cart: Vec<String>,
///     #[session(default = 20)]
///     page_size: u32,
///     #[session(flash)]
///     notice: Option<String>,
/// }
///
/// fn add(session: &TypedSession<Shop>, article: String) -> session_schema::Result<()> {
///     session.push(Shop::CART, article)?; // by key
///     session.flash_notice("Added to your cart") // by accessor
/// }
///
/// // The keys are constants.
/// const CART: Key<Shop, Vec<String>> = Shop::CART;
/// const NOTICE: Key<Shop, Option<String>, Flash> = Shop::NOTICE;
/// ```
///
/// # What is generated
///
/// | for the struct `Shop` | |
/// |---|---|
/// | `Shop::CART` | the key of the field `cart`, in upper case, for the methods of `TypedSession` |
/// | `ShopAccessors` | the struct that `TypedSession<Shop>` dereferences to; it has the accessors |
/// | `get_cart()`, `put_cart(v)`, `pull_cart()`, `flash_cart(v)` | accessors of a field that is kept |
/// | `get_notice()`, `flash_notice(v)`, `now_notice(v)`, `keep_notice()`, `pull_notice()` | accessors of a flash field |
/// | `impl SessionSchema for Shop` | the schema as data, and what `snapshot` and `fill` need |
///
/// Keys and accessors have the visibility and the documentation of their field, `ShopAccessors` that of the struct.
///
/// The type of a field is anything that implements serde's `Serialize` and `Deserialize`, and `Default` unless the field has a default of
/// its own. An absent key reads as that default, and so does a stored null unless the type has a reading of it, as `Option` does.
///
/// # On the struct
///
/// **`#[session(prefix = "shop.")]`** stands before the name of every key, those given with `key` too, so that several schemas can share
/// a session. `session_schema::assert_disjoint!(Shop, Auth)` checks that they do not claim one key.
///
/// **`#[session(rename_all = "camelCase")]`** makes keys of fields as serde does: `lowercase`, `UPPERCASE`, `PascalCase`, `camelCase`,
/// `snake_case`, `SCREAMING_SNAKE_CASE`, `kebab-case` or `SCREAMING-KEBAB-CASE`. It does not touch what `key` says.
///
/// **`#[session(crate = "path")]`** says where the library is, if not at `::session_schema`.
///
/// ```
/// # use session_schema::SessionSchema;
/// #[derive(SessionSchema)]
/// #[session(prefix = "shop.", rename_all = "camelCase")]
/// struct Shop {
///     page_size: u32,
///     #[session(key = "basket")]
///     cart: Vec<String>,
/// }
///
/// assert_eq!(Shop::PAGE_SIZE.name(), "shop.pageSize");
/// assert_eq!(Shop::CART.name(), "shop.basket");
/// ```
///
/// # On a field
///
/// Several stand in one attribute, with commas between them.
///
/// **`#[session(key = "basket")]`**: the key, if it is not the name of the field. Keys that begin with `_` are the library's.
///
/// **`#[session(default = 20)]`**: what an absent key reads as; any expression of the field's type, evaluated when it is needed. A text in
/// quotes may stand for a `String`. `default` alone is `Default::default()`, which holds anyway.
///
/// **`#[session(flash)]`**: the value is shown once, in the request that stores it and the next. It cannot be `put`. Mostly an `Option`,
/// though it need not be one.
///
/// **`#[session(flash = "until_read")]`**: a flash value that does not age before a request has read it, so that a request in the background
/// cannot eat a message. `get`, `pull` and `snapshot` read it; `has` and `exists` do not.
///
/// **`#[session(owner)]`**: the value says whose session it is, for "all sessions of user 42" and "log out everywhere
/// else". Whatever changes the field through the schema signs somebody in or out: the session gets a new id, or ends
/// (see `Session::set_owner`). `None` is not stored. The type must be stored as a string or a number, or be an `Option`
/// of such a type. A schema has at most one such field.
///
/// **`#[session(alias = "old_name")]`**: a former name, which may be repeated. A value that is only there is read from there, and moved to the
/// present name on the next change. Prefix and `rename_all` do not touch it.
///
/// **`#[session(with = "module")]`**: `module::serialize` and `module::deserialize` write and read the value, as in serde. The type needs
/// neither trait then.
///
/// **`#[session(invalid = "default")]`**: a stored value of another shape, from before the type was changed, reads as the default, and is
/// overwritten by the next change. Otherwise, or with `invalid = "error"`, it is an error of the kind `WrongType`, which names the key, the
/// struct, the type and what sort of JSON was found.
///
/// ```
/// # use session_schema::SessionSchema;
/// mod seconds {
///     use serde::{Deserialize, Deserializer, Serializer};
///     use std::time::Duration;
///
///     pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
///         serializer.serialize_u64(value.as_secs())
///     }
///
///     pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
///         u64::deserialize(deserializer).map(Duration::from_secs)
///     }
/// }
///
/// #[derive(SessionSchema)]
/// struct Shop {
///     #[session(key = "basket", alias = "cart", alias = "items")]
///     cart: Vec<String>,
///     #[session(default = "light", invalid = "default")]
///     theme: String,
///     #[session(with = "seconds")]
///     waited: std::time::Duration,
///     #[session(flash = "until_read")]
///     warning: Option<String>,
/// }
///
/// assert_eq!(Shop::KEYS[0].aliases(), ["cart", "items"]);
/// ```
///
/// # What is refused
///
/// Enums, unions, tuple structs, structs with parameters, two fields that claim one name (aliases and prefixes counted), names that begin with
/// `_`, a second owner, an owner that is flash, and attributes that are unknown, repeated or in the wrong place. All errors of a struct are
/// reported together.
#[proc_macro_derive(SessionSchema, attributes(session))]
pub fn session_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive(&input).into()
}

fn derive(input: &DeriveInput) -> proc_macro2::TokenStream {
    let ctxt = ctxt::Ctxt::new();
    let attrs = attr::StructAttrs::read(&ctxt, &input.attrs);
    let path = expand::CratePath::of(&attrs);
    let schema = model::Schema::read(&ctxt, input, attrs);
    if let Some(schema) = &schema {
        check::check(&ctxt, schema);
    }
    let errors = ctxt.check().map(syn::Error::into_compile_error);
    let code = match schema {
        Some(mut schema) => {
            if errors.is_some() {
                fallback::mend(&mut schema, &path);
            }
            expand::expand(&schema, &path)
        }
        None => fallback::stub(input, &path),
    };
    quote::quote!(#errors #code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_crate_path_is_the_only_one() {
        for input in [
            "struct Shop { /** Doc. */ #[session(owner)] pub a: Option<u8>, #[session(flash)] b: u8 }",
            "enum Shop {}",
        ] {
            let input = format!("#[session(crate = \"a::b\")] {input}");
            let code = derive(&syn::parse_str(&input).unwrap()).to_string();
            assert!(
                code.contains("a :: b :: private") && !code.contains("session_schema"),
                "{code}"
            );
        }
    }

    #[test]
    fn bindings_are_named_so_that_nobody_else_has_the_name() {
        let code = derive(&syn::parse_quote! { struct Shop { a: u8, #[session(with = "m")] b: u8 } }).to_string();
        for binding in code.split(" | ").filter(|word| word.starts_with("__")) {
            assert!(binding.starts_with("__session_"), "{binding}");
        }
        assert!(code.contains("| __session_value , __session_writer |"));
        assert!(code.contains("__session_value : impl"));
    }
}
