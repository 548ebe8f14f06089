//! Collects errors, so that all errors of a struct are reported together.

use std::cell::RefCell;
use std::fmt::Display;

use quote::ToTokens;

/// The errors found so far. It panics when dropped unchecked: an error must not get lost.
pub(crate) struct Ctxt {
    /// `None` once checked.
    errors: RefCell<Option<Vec<syn::Error>>>,
}

impl Ctxt {
    pub(crate) fn new() -> Self {
        Self {
            errors: RefCell::new(Some(Vec::new())),
        }
    }

    /// Adds an error at the tokens that are wrong.
    pub(crate) fn error_at(&self, wrong: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(wrong.into_token_stream(), message));
    }

    /// Adds an error that syn found.
    pub(crate) fn add(&self, error: syn::Error) {
        self.errors
            .borrow_mut()
            .as_mut()
            .expect("errors are not added after they were checked")
            .push(error);
    }

    /// All errors as one, if there are any.
    pub(crate) fn check(self) -> Option<syn::Error> {
        let errors = self.errors.take().into_iter().flatten();
        errors.reduce(|mut all, error| {
            all.combine(error);
            all
        })
    }
}

impl Drop for Ctxt {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.errors.borrow().is_some() {
            panic!("errors were not checked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn all_errors_are_reported_in_the_order_in_which_they_were_found() {
        let ctxt = Ctxt::new();
        ctxt.error_at(quote!(a), "first");
        ctxt.error_at(quote!(b), "second");
        let errors = ctxt.check().unwrap();
        let texts: Vec<_> = errors.into_iter().map(|error| error.to_string()).collect();
        assert_eq!(texts, ["first", "second"]);
        assert!(Ctxt::new().check().is_none());
    }

    #[test]
    #[should_panic(expected = "not checked")]
    fn errors_do_not_get_lost() {
        drop(Ctxt::new());
    }
}
