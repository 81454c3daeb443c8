//! Which functions constants call, in any file: those must stay `const`, and cannot be switched.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Names that are used where the compiler computes. Names alone: `A::new` keeps `B::new` as it is.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    names: BTreeSet<String>,
    /// What each `const fn` uses.
    functions: BTreeMap<String, BTreeSet<String>>,
    inside: bool,
}

impl Constants {
    /// Looks at one more file; what cannot be parsed has none.
    pub(crate) fn add(&mut self, text: &str) {
        if let Ok(file) = syn::parse_file(text) {
            self.visit_file(&file);
        }
    }

    /// The functions that constants call, and those that these call in turn.
    pub(crate) fn names(self) -> BTreeSet<String> {
        let mut names = self.names;
        loop {
            let called = names.iter().filter_map(|n| self.functions.get(n));
            let more: BTreeSet<_> = called.flatten().cloned().collect();
            let before = names.len();
            names.extend(more);
            if names.len() == before {
                names.retain(|name| self.functions.contains_key(name));
                return names;
            }
        }
    }

    fn in_constant(&mut self, walk: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.inside, true);
        walk(self);
        self.inside = before;
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        if signature.constness.is_none() {
            return;
        }
        let mut body = Self {
            inside: true,
            ..Self::default()
        };
        body.visit_block(block);
        let used = self.functions.entry(signature.ident.to_string());
        used.or_default().extend(body.names);
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    self.names.insert(name.to_string());
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Constants {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.function(&f.sig, &f.block);
        visit::visit_item_fn(self, f);
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.function(&f.sig, &f.block);
        visit::visit_impl_item_fn(self, f);
    }

    fn visit_item_const(&mut self, i: &'ast syn::ItemConst) {
        self.in_constant(|all| all.visit_expr(&i.expr));
    }

    fn visit_item_static(&mut self, i: &'ast syn::ItemStatic) {
        self.in_constant(|all| all.visit_expr(&i.expr));
    }

    fn visit_impl_item_const(&mut self, i: &'ast syn::ImplItemConst) {
        self.in_constant(|all| all.visit_expr(&i.expr));
    }

    fn visit_trait_item_const(&mut self, i: &'ast syn::TraitItemConst) {
        self.in_constant(|all| visit::visit_trait_item_const(all, i));
    }

    fn visit_type_array(&mut self, i: &'ast syn::TypeArray) {
        self.in_constant(|all| all.visit_expr(&i.len));
    }

    fn visit_expr_repeat(&mut self, i: &'ast syn::ExprRepeat) {
        self.visit_expr(&i.expr);
        self.in_constant(|all| all.visit_expr(&i.len));
    }

    fn visit_expr_const(&mut self, i: &'ast syn::ExprConst) {
        self.in_constant(|all| visit::visit_expr_const(all, i));
    }

    fn visit_variant(&mut self, i: &'ast syn::Variant) {
        if let Some((_, value)) = &i.discriminant {
            self.in_constant(|all| all.visit_expr(value));
        }
    }

    fn visit_path(&mut self, i: &'ast syn::Path) {
        if self.inside
            && let Some(last) = i.segments.last()
        {
            self.names.insert(last.ident.to_string());
        }
        visit::visit_path(self, i);
    }

    fn visit_expr_method_call(&mut self, i: &'ast syn::ExprMethodCall) {
        if self.inside {
            self.names.insert(i.method.to_string());
        }
        visit::visit_expr_method_call(self, i);
    }

    fn visit_macro(&mut self, i: &'ast syn::Macro) {
        if self.inside {
            self.tokens(i.tokens.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_constants_call_is_found_through_functions() {
        let mut constants = Constants::default();
        constants.add(
            "const A: u32 = a(1);
             const fn a(x: u32) -> u32 { b(x).c() }
             const fn b(x: u32) -> u32 { x }
             impl C { const fn c(self) -> u32 { 1 } }
             const fn e() -> u32 { 1 }
             const fn len() -> usize { 1 }
             const fn not_called(x: u32) -> u32 { x }
             fn f() -> [u8; len()] { g(); [0; M] }
             static S: T = d!(e());",
        );
        constants.add("no Rust");
        let names: Vec<_> = constants.names().into_iter().collect();
        assert_eq!(names, ["a", "b", "c", "e", "len"]);
    }
}
