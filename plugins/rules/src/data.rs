//! Conditions on fields of `data`: a value that the field equals, or operators such as `{ gte = 100 }`.

use std::cmp::Ordering;

use fanfare_sdk::prelude::*;

use crate::glob::Glob;

/// What a field has to be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Value")]
#[schemars(untagged)]
pub(crate) enum Condition {
    /// Every operator holds.
    Operators(Box<Operators>),
    /// It equals this.
    Equals(Value),
}

/// Operators; all that are given have to hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Operators {
    eq: Option<Value>,
    ne: Option<Value>,
    gt: Option<Value>,
    gte: Option<Value>,
    lt: Option<Value>,
    lte: Option<Value>,
    r#in: Option<Vec<Value>>,
    /// For text, `*` stands for any run of characters.
    glob: Option<Glob>,
    exists: Option<bool>,
}

/// An object whose keys are all operators is a set of operators; everything else is a value.
impl From<Value> for Condition {
    fn from(value: Value) -> Self {
        let operators = value.is_object().then(|| Box::<Operators>::deserialize(&value).ok()).flatten();
        operators.map_or(Self::Equals(value), Self::Operators)
    }
}

impl Condition {
    /// Whether the field at `path` of `data` fits.
    pub(crate) fn holds(&self, data: &Value, path: &str) -> bool {
        let field = at(data, path);
        match self {
            Self::Equals(wanted) => field.is_some_and(|field| same(field, wanted)),
            Self::Operators(operators) => operators.hold(field),
        }
    }
}

impl Operators {
    fn hold(&self, field: Option<&Value>) -> bool {
        if self.exists.is_some_and(|wanted| wanted != field.is_some()) {
            return false;
        }
        let Some(field) = field else {
            // A missing field is unequal to anything, and fits no other operator.
            let others = [&self.eq, &self.gt, &self.gte, &self.lt, &self.lte];
            return others.iter().all(|other| other.is_none()) && self.r#in.is_none() && self.glob.is_none();
        };
        let compares = |wanted: &Option<Value>, fits: fn(Ordering) -> bool| {
            wanted.as_ref().is_none_or(|wanted| order(field, wanted).is_some_and(fits))
        };
        self.eq.as_ref().is_none_or(|wanted| same(field, wanted))
            && self.ne.as_ref().is_none_or(|wanted| !same(field, wanted))
            && self.r#in.as_ref().is_none_or(|list| list.iter().any(|wanted| same(field, wanted)))
            && self.glob.as_ref().is_none_or(|glob| field.as_str().is_some_and(|text| glob.matches(text)))
            && compares(&self.gt, Ordering::is_gt)
            && compares(&self.gte, Ordering::is_ge)
            && compares(&self.lt, Ordering::is_lt)
            && compares(&self.lte, Ordering::is_le)
    }
}

/// The field at a dotted path; a number is a place in a list. A key that itself has dots is tried first.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let found = match value {
        Value::Array(list) => list.get(first.parse::<usize>().ok()?),
        value => value.get(first),
    }?;
    rest.map_or(Some(found), |rest| at(found, rest))
}

/// Equal, where 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a, b), (Value::Number(_), Value::Number(_)) if order(a, b) == Some(Ordering::Equal))
}

/// Numbers and texts have an order, each among themselves.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: Value, path: &str) -> bool {
        let data = json!({
            "amount": 150, "rate": 1.0, "region": "eu-west", "ok": true, "none": null,
            "order": { "items": [{ "sku": "A1" }] }, "a.b": 7,
        });
        fanfare_sdk::serde_json::from_value::<Condition>(condition).unwrap().holds(&data, path)
    }

    #[test]
    fn a_plain_value_is_compared_for_equality() {
        assert!(holds(json!(150), "amount") && holds(json!(1), "rate") && holds(json!(true), "ok"));
        assert!(
            holds(json!("A1"), "order.items.0.sku") && holds(json!(7), "a.b") && holds(json!(null), "none")
        );
        assert!(
            !holds(json!("150"), "amount")
                && !holds(json!(1), "missing")
                && !holds(json!("A1"), "order.items.1.sku")
        );
        assert!(holds(json!([{ "sku": "A1" }]), "order.items"));
    }

    #[test]
    fn operators_compare_within_a_kind() {
        assert!(holds(json!({ "gt": 100, "lte": 150 }), "amount") && !holds(json!({ "gt": 150 }), "amount"));
        assert!(holds(json!({ "gte": 0.5, "lt": 1.5 }), "rate"));
        assert!(
            holds(json!({ "in": ["us", "eu-west"] }), "region") && holds(json!({ "glob": "eu-*" }), "region")
        );
        assert!(!holds(json!({ "gt": 1 }), "region") && !holds(json!({ "glob": "*" }), "amount"));
        assert!(holds(json!({ "ne": "us" }), "region") && !holds(json!({ "ne": 150 }), "amount"));
    }

    #[test]
    fn missing_fields_fit_only_ne_and_not_exists() {
        assert!(holds(json!({ "exists": false }), "missing") && holds(json!({ "exists": true }), "none"));
        assert!(holds(json!({ "ne": 1 }), "missing"));
        assert!(!holds(json!({ "lt": 1 }), "missing") && !holds(json!({ "exists": true }), "missing"));
    }

    #[test]
    fn an_object_that_is_no_set_of_operators_is_a_value() {
        let data = json!({ "o": { "k": 1 } });
        let condition: Condition = fanfare_sdk::serde_json::from_value(json!({ "k": 1 })).unwrap();
        assert!(condition.holds(&data, "o"));
    }
}
