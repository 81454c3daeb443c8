//! Finds the syntax that each mutant of the list is about, and says how it is switched.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{SWITCH, choice};
use crate::edit::Site;
use crate::lines::{Lines, place};
use crate::list::{Genre, Mutant, Place};

/// What nobody found is said to be so.
const NOT_FOUND: &str = "its place was not found";
const CONSTANT: &str = "in a constant: fixed when it is compiled";
const OPAQUE: &str = "returns `impl`: a body has one type, and this would be another";
const GUARDED: &str = "no arm without a guard takes the rest";
const LET: &str = "beside a `let`: `||` does not compile there";

/// Walks a file.
pub(super) struct Places<'a> {
    lines: &'a Lines<'a>,
    const_names: &'a BTreeSet<String>,
    /// Mutants by genre's own way of naming a place, see `key`.
    wanted: BTreeMap<Key, Vec<&'a Mutant>>,
    left_out: BTreeMap<u32, &'static str>,
    sites: Vec<Site>,
    /// How many constants are around.
    constants: usize,
}

/// Where a mutant begins, and what it is about: a guard, its first operator and its first field may
/// begin at one place.
type Key = (Place, u8);

fn kind(genre: Genre) -> u8 {
    match genre {
        Genre::FnValue => 0,
        Genre::BinaryOperator => 1,
        Genre::UnaryOperator => 2,
        Genre::MatchArm => 3,
        Genre::MatchArmGuard => 4,
        Genre::StructField => 5,
        Genre::Other => 6,
    }
}

impl<'a> Places<'a> {
    pub(super) fn new(
        lines: &'a Lines<'a>,
        mutants: &[&'a Mutant],
        const_names: &'a BTreeSet<String>,
    ) -> Self {
        let mut wanted = BTreeMap::<Key, Vec<&Mutant>>::new();
        for mutant in mutants {
            let key = (mutant.start, kind(mutant.genre));
            wanted.entry(key).or_default().push(mutant);
        }
        Self {
            lines,
            const_names,
            wanted,
            left_out: BTreeMap::new(),
            sites: Vec::new(),
            constants: 0,
        }
    }

    /// The sites as they nest, and what is left out.
    pub(super) fn finish(mut self) -> (Vec<Site>, BTreeMap<u32, &'static str>) {
        for mutant in self.wanted.into_values().flatten() {
            self.left_out.insert(mutant.id, NOT_FOUND);
        }
        (self.sites, self.left_out)
    }

    /// The mutants at a place, once; none in a constant.
    fn take(&mut self, span: Span, genre: Genre) -> Vec<&'a Mutant> {
        let key = (place(span.start()), kind(genre));
        let found = self.wanted.remove(&key).unwrap_or_default();
        if self.constants > 0 {
            self.leave_out(&found, CONSTANT);
            return Vec::new();
        }
        found
    }

    fn leave_out(&mut self, mutants: &[&Mutant], why: &'static str) {
        self.left_out.extend(mutants.iter().map(|m| (m.id, why)));
    }

    fn in_constant(&mut self, walk: impl FnOnce(&mut Self)) {
        self.constants += 1;
        walk(self);
        self.constants -= 1;
    }

    /// A function's body: `return` at once what the mutant says. A `const` that no constant needs
    /// is taken away.
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) -> bool {
        let is_const = signature.constness.is_some();
        if is_const && self.const_names.contains(&signature.ident.to_string()) {
            return true;
        }
        if let Some(word) = signature.constness {
            let range = self.lines.range(word.span());
            self.sites.push(Site {
                range,
                before: "/* ".to_owned(),
                after: " */".to_owned(),
                own: Vec::new(),
            });
        }
        self.body(signature, block);
        false
    }

    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let Some(first) = block.stmts.first() else {
            return;
        };
        let mutants = self.take(first.span(), Genre::FnValue);
        if self.lines.text(signature.output.span()).contains("impl ") {
            self.leave_out(&mutants, OPAQUE);
            return;
        }
        if mutants.is_empty() {
            return;
        }
        let at = self.lines.range(block.brace_token.span.open()).end;
        let mut site = Site {
            range: at..at,
            before: String::new(),
            after: String::new(),
            own: Vec::new(),
        };
        for mutant in mutants {
            site.before
                .push_str(&format!(" if {SWITCH}({}) {{ return ", mutant.id));
            let start = site.before.len();
            site.before.push_str(&mutant.replacement);
            site.own.push((mutant.id, start..site.before.len()));
            site.before.push_str("; }");
        }
        self.sites.push(site);
    }

    fn guard(&mut self, guard: &syn::Expr) {
        let mutants = self.take(guard.span(), Genre::MatchArmGuard);
        if mutants.is_empty() {
            return;
        }
        let mut site = Site {
            range: self.lines.range(guard.span()),
            before: String::from("("),
            after: String::from(")"),
            own: Vec::new(),
        };
        for mutant in mutants {
            let start = site.before.len();
            let test = if mutant.replacement == "true" {
                format!("{SWITCH}({}) || (", mutant.id)
            } else {
                format!("!{SWITCH}({}) && (", mutant.id)
            };
            site.before.push_str(&test);
            site.after.push(')');
            site.own.push((mutant.id, start..site.before.len()));
        }
        self.sites.push(site);
    }

    fn deleted_arm(&mut self, arm: &syn::Arm, rest_is_taken: bool) {
        let mutants = self.take(arm.span(), Genre::MatchArm);
        if !rest_is_taken {
            self.leave_out(&mutants, GUARDED);
            return;
        }
        let Some(mutant) = mutants.first() else {
            return;
        };
        let at = self.lines.range(arm.pat.span()).end;
        let before = format!(" if !{SWITCH}({}) ", mutant.id);
        let own = vec![(mutant.id, 0..before.len())];
        self.sites.push(Site {
            range: at..at,
            before,
            after: String::new(),
            own,
        });
    }

    /// The whole expression, each time without one field: its base has it.
    fn deleted_fields(&mut self, whole: &syn::ExprStruct) {
        let range = self.lines.range(whole.span());
        let mut texts = Vec::new();
        for pair in whole.fields.pairs() {
            let field = self.lines.range(pair.value().span());
            let end = pair.punct().map(|p| self.lines.range(p.span()).end);
            for mutant in self.take(pair.value().span(), Genre::StructField) {
                let text = self.lines.whole();
                let (front, back) = (
                    range.start..field.start,
                    end.unwrap_or(field.end)..range.end,
                );
                texts.push((mutant.id, format!("{}{}", &text[front], &text[back])));
            }
        }
        if !texts.is_empty() {
            self.sites.push(choice(range, texts));
        }
    }
}

/// Whether an arm is `_ =>` or `name =>`.
fn takes_the_rest(arm: &syn::Arm) -> bool {
    let anything = match &arm.pat {
        syn::Pat::Wild(_) => true,
        syn::Pat::Ident(name) => name.subpat.is_none() && name.ident != "None",
        _ => false,
    };
    anything && arm.guard.is_none()
}

/// Whether a `let` stands in the chain of `&&` that an expression is.
fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(both) if matches!(both.op, syn::BinOp::And(_)) => {
            has_let(&both.left) || has_let(&both.right)
        }
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Places<'_> {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        if self.function(&f.sig, &f.block) {
            self.in_constant(|all| {
                all.body(&f.sig, &f.block);
                visit::visit_item_fn(all, f);
            });
        } else {
            visit::visit_item_fn(self, f);
        }
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        if self.function(&f.sig, &f.block) {
            self.in_constant(|all| {
                all.body(&f.sig, &f.block);
                visit::visit_impl_item_fn(all, f);
            });
        } else {
            visit::visit_impl_item_fn(self, f);
        }
    }

    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        if let Some(block) = &f.default {
            self.body(&f.sig, block);
        }
        visit::visit_trait_item_fn(self, f);
    }

    fn visit_item_const(&mut self, i: &'ast syn::ItemConst) {
        self.in_constant(|all| visit::visit_item_const(all, i));
    }

    fn visit_item_static(&mut self, i: &'ast syn::ItemStatic) {
        self.in_constant(|all| visit::visit_item_static(all, i));
    }

    fn visit_impl_item_const(&mut self, i: &'ast syn::ImplItemConst) {
        self.in_constant(|all| visit::visit_impl_item_const(all, i));
    }

    fn visit_trait_item_const(&mut self, i: &'ast syn::TraitItemConst) {
        self.in_constant(|all| visit::visit_trait_item_const(all, i));
    }

    fn visit_type(&mut self, i: &'ast syn::Type) {
        self.in_constant(|all| visit::visit_type(all, i));
    }

    fn visit_variant(&mut self, i: &'ast syn::Variant) {
        self.in_constant(|all| visit::visit_variant(all, i));
    }

    fn visit_expr_const(&mut self, i: &'ast syn::ExprConst) {
        self.in_constant(|all| visit::visit_expr_const(all, i));
    }

    fn visit_generic_argument(&mut self, i: &'ast syn::GenericArgument) {
        self.in_constant(|all| visit::visit_generic_argument(all, i));
    }

    fn visit_expr_repeat(&mut self, i: &'ast syn::ExprRepeat) {
        self.visit_expr(&i.expr);
        self.in_constant(|all| all.visit_expr(&i.len));
    }

    fn visit_pat(&mut self, i: &'ast syn::Pat) {
        self.in_constant(|all| visit::visit_pat(all, i));
    }

    fn visit_expr_binary(&mut self, i: &'ast syn::ExprBinary) {
        let mutants = self.take(i.op.span(), Genre::BinaryOperator);
        let beside_let = has_let(&i.left) || has_let(&i.right);
        if beside_let {
            self.leave_out(&mutants, LET);
        } else if !mutants.is_empty() {
            let (left, right) = (
                self.lines.text(i.left.span()),
                self.lines.text(i.right.span()),
            );
            let texts = mutants
                .iter()
                .map(|m| (m.id, format!("({left}) {} ({right})", m.replacement)));
            let site = choice(self.lines.range(i.span()), texts.collect());
            self.sites.push(site);
        }
        visit::visit_expr_binary(self, i);
    }

    fn visit_expr_unary(&mut self, i: &'ast syn::ExprUnary) {
        let mutants = self.take(i.span(), Genre::UnaryOperator);
        if !mutants.is_empty() {
            let inner = self.lines.text(i.expr.span());
            let texts = mutants.iter().map(|m| (m.id, format!("({inner})")));
            let site = choice(self.lines.range(i.span()), texts.collect());
            self.sites.push(site);
        }
        visit::visit_expr_unary(self, i);
    }

    fn visit_expr_struct(&mut self, i: &'ast syn::ExprStruct) {
        self.deleted_fields(i);
        visit::visit_expr_struct(self, i);
    }

    fn visit_expr_match(&mut self, i: &'ast syn::ExprMatch) {
        self.visit_expr(&i.expr);
        let rest_is_taken = i.arms.iter().any(takes_the_rest);
        for arm in &i.arms {
            self.deleted_arm(arm, rest_is_taken);
            self.visit_pat(&arm.pat);
            if let Some((_, guard)) = &arm.guard {
                self.guard(guard);
                self.visit_expr(guard);
            }
            self.visit_expr(&arm.body);
        }
    }
}
