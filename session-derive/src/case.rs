//! `rename_all`: from the field's name to the key's.

/// How fields are renamed; the names are serde's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenameRule {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

use RenameRule::{Camel, Kebab, Lower, Pascal, ScreamingKebab, ScreamingSnake, Snake, Upper};

/// The rules by name, in the order in which an error lists them.
pub(crate) const RULES: &[(&str, RenameRule)] = &[
    ("lowercase", Lower),
    ("UPPERCASE", Upper),
    ("PascalCase", Pascal),
    ("camelCase", Camel),
    ("snake_case", Snake),
    ("SCREAMING_SNAKE_CASE", ScreamingSnake),
    ("kebab-case", Kebab),
    ("SCREAMING-KEBAB-CASE", ScreamingKebab),
];

impl RenameRule {
    pub(crate) fn named(name: &str) -> Option<Self> {
        let rule = RULES.iter().find(|(rule, _)| *rule == name)?;
        Some(rule.1)
    }

    /// The key for a field, whose name is in `snake_case`.
    pub(crate) fn apply(self, field: &str) -> String {
        match self {
            Lower | Snake => field.to_owned(),
            Upper | ScreamingSnake => field.to_uppercase(),
            Pascal => pascal(field),
            Camel => lower_first(&pascal(field)),
            Kebab => field.replace('_', "-"),
            ScreamingKebab => field.to_uppercase().replace('_', "-"),
        }
    }
}

fn pascal(field: &str) -> String {
    field.split('_').map(upper_first).collect()
}

fn upper_first(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.collect::<String>() + letters.as_str()
}

fn lower_first(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().into_iter().flat_map(char::to_lowercase);
    first.collect::<String>() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_renamed_as_serde_renames_them() {
        for (rule, one, two, digits) in [
            ("lowercase", "cart", "page_size", "v2_id"),
            ("UPPERCASE", "CART", "PAGE_SIZE", "V2_ID"),
            ("PascalCase", "Cart", "PageSize", "V2Id"),
            ("camelCase", "cart", "pageSize", "v2Id"),
            ("snake_case", "cart", "page_size", "v2_id"),
            ("SCREAMING_SNAKE_CASE", "CART", "PAGE_SIZE", "V2_ID"),
            ("kebab-case", "cart", "page-size", "v2-id"),
            ("SCREAMING-KEBAB-CASE", "CART", "PAGE-SIZE", "V2-ID"),
        ] {
            let rule = RenameRule::named(rule).unwrap();
            assert_eq!(rule.apply("cart"), one);
            assert_eq!(rule.apply("page_size"), two);
            assert_eq!(rule.apply("v2_id"), digits);
        }
    }

    #[test]
    fn letters_beyond_ascii_and_empty_words_are_no_trouble() {
        assert_eq!(Pascal.apply("été_à__la"), "ÉtéÀLa");
        assert_eq!(Camel.apply("_x"), "x");
        assert_eq!(RenameRule::named("Snake"), None);
    }
}
