//! Tokens as text, spaced as people write types and short expressions.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;

/// What was written, on one line.
pub(super) fn written(tokens: &impl ToTokens) -> String {
    let mut text = String::new();
    write(tokens.to_token_stream(), &mut text);
    text
}

fn write(tokens: TokenStream, text: &mut String) {
    let mut after_word = false;
    let mut before = ' ';
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_word = matches!(token, TokenTree::Ident(_) | TokenTree::Literal(_));
        if is_word && after_word {
            text.push(' ');
        }
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => (" { ", " }"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), text);
                text.push_str(close);
                before = ' ';
            }
            TokenTree::Punct(punct) => {
                let sign = punct.as_char();
                match sign {
                    ',' | ';' if tokens.peek().is_some() => text.extend([sign, ' ']),
                    '+' | '=' => text.extend([' ', sign, ' ']),
                    '-' if matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '>') => {
                        text.push_str(" -");
                    }
                    '>' if before == '-' => text.push_str("> "),
                    _ => text.push(sign),
                }
                before = sign;
            }
            word => {
                text.push_str(&word.to_string());
                before = ' ';
            }
        }
        after_word = is_word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_expressions_read_as_they_are_written() {
        for text in [
            "Option<Vec<(u8, bool)>>",
            "std::collections::HashMap<String, [u8; 4]>",
            "Box<dyn Fn(&'static str) -> u8 + Send>",
            "Vec::new()",
            "vec![1, 2]",
            "-1.5",
            "\"a b\".to_owned()",
        ] {
            let tokens: TokenStream = text.parse().unwrap();
            assert_eq!(written(&tokens), text);
        }
    }
}
