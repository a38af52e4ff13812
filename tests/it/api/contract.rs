//! `openapi.yaml` as a judge of answers.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};
use songkin::api::openapi::DOCUMENT;

use super::Answer;

pub(super) static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract {
    document: serde_yaml_ng::from_str(DOCUMENT).unwrap(),
});

/// A documented answer: operation, status, and the problem's slug where it is one.
pub(super) type Given = (String, u16, Option<String>);

pub(super) struct Contract {
    pub(super) document: Value,
}

/// An operation of the document.
pub(super) struct Operation<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) value: &'a Value,
}

impl Operation<'_> {
    pub(super) fn id(&self) -> &str {
        self.value["operationId"].as_str().unwrap()
    }
}

impl Contract {
    pub(super) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.document["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods.iter().map(|(method, value)| Operation {
                method,
                path,
                value,
            })
        })
    }

    /// Follows a reference, if it is one.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                let target = self.document.pointer(pointer);
                target.unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
            None => value,
        }
    }

    /// A validator for a schema of the document, in which references into the document work.
    pub(super) fn validator(&self, schema: &Value) -> Validator {
        let root = json!({ "allOf": [schema], "components": self.document["components"] });
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&root)
            .unwrap()
    }

    /// The slugs that a problem's schema allows.
    pub(super) fn slugs(&self, response: &Value) -> Vec<String> {
        let schema = &response["content"]["application/problem+json"]["schema"];
        let parts = schema["allOf"].as_array().map_or(&[][..], Vec::as_slice);
        let kinds = parts.iter().flat_map(|part| {
            let kind = &part["properties"]["type"];
            let several = kind["enum"].as_array().cloned().unwrap_or_default();
            several.into_iter().chain(kind.get("const").cloned())
        });
        kinds
            .map(|kind| {
                let kind = kind.as_str().unwrap();
                kind.strip_prefix("urn:songkin:problem:")
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    /// Everything that the document says may be answered.
    pub(super) fn documented(&self) -> BTreeSet<Given> {
        let mut all = BTreeSet::new();
        for operation in self.operations() {
            for (status, response) in operation.value["responses"].as_object().unwrap() {
                let status = status.parse().unwrap();
                let slugs = self.slugs(self.resolve(response));
                if slugs.is_empty() {
                    all.insert((operation.id().to_owned(), status, None));
                }
                for slug in slugs {
                    all.insert((operation.id().to_owned(), status, Some(slug)));
                }
            }
        }
        all
    }

    /// Panics unless the document allows the answer. Gives which documented answer it is, none where
    /// the request fits no operation.
    pub(super) fn check(&self, method: &Method, path: &str, answer: &Answer) -> Option<Given> {
        let call = &answer.call;
        let at_path: Vec<Operation<'_>> = self
            .operations()
            .filter(|operation| fits(operation.path, path))
            .collect();
        let wanted = match *method {
            Method::HEAD => "get".to_owned(),
            _ => method.as_str().to_lowercase(),
        };
        let operation = at_path.iter().find(|operation| operation.method == wanted);
        let Some(operation) = operation else {
            let name = if at_path.is_empty() {
                "NoSuchRoute"
            } else {
                let mut allowed: BTreeSet<String> = answer
                    .header("allow")
                    .split(',')
                    .map(|method| method.trim().to_lowercase())
                    .collect();
                allowed.remove("head");
                let documented = at_path.iter().map(|at| at.method.to_owned()).collect();
                assert_eq!(allowed, documented, "{call}: Allow");
                "MethodNotAllowed"
            };
            self.check_response(
                method,
                &self.document["components"]["responses"][name],
                answer,
            );
            let expected = if at_path.is_empty() { 404 } else { 405 };
            assert_eq!(answer.status, expected, "{call}");
            return None;
        };
        let response = operation.value["responses"].get(answer.status.to_string());
        let response = response.unwrap_or_else(|| {
            let body = String::from_utf8_lossy(&answer.body);
            panic!("{call}: {} is not documented: {body}", answer.status)
        });
        let slug = self.check_response(method, self.resolve(response), answer);
        Some((operation.id().to_owned(), answer.status, slug))
    }

    fn check_response(&self, method: &Method, response: &Value, answer: &Answer) -> Option<String> {
        let call = &answer.call;
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = self.resolve(header);
            let Some(value) = answer.headers.get(name) else {
                assert_ne!(header["required"], true, "{call}: {name} is missing");
                continue;
            };
            let text = value.to_str().unwrap();
            let value = match text.parse::<u64>() {
                Ok(number) if header["schema"]["type"] == "integer" => json!(number),
                _ => json!(text),
            };
            self.hold(&header["schema"], &value, &format!("{call}: {name}"));
        }
        let Some(content) = response["content"].as_object() else {
            assert!(
                answer.body.is_empty(),
                "{call}: a body that is not documented"
            );
            return None;
        };
        let media = answer.header("content-type");
        let essence = media.split(';').next().unwrap();
        let documented = content.iter().find(|(range, _)| covers(range, essence));
        let (_, documented) =
            documented.unwrap_or_else(|| panic!("{call}: {media:?} is not documented"));
        if method == Method::HEAD {
            assert!(answer.body.is_empty(), "{call}: a body");
            return None;
        }
        if !essence.ends_with("json") {
            return None;
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        self.hold(&documented["schema"], &body, call);
        let kind = body["type"].as_str();
        kind.and_then(|kind| Some(kind.strip_prefix("urn:songkin:problem:")?.to_owned()))
    }

    /// Panics with every fault unless the value is what the schema says.
    pub(super) fn hold(&self, schema: &Value, value: &Value, what: &str) {
        let validator = self.validator(schema);
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{what}: {faults:#?} in {value:#}");
    }
}

/// Whether a path is one that the template stands for.
fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted.starts_with('{') => {
                if found.is_empty() {
                    return false;
                }
            }
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

/// Whether a media range such as `audio/*` covers a media type.
fn covers(range: &str, essence: &str) -> bool {
    match range.strip_suffix('*') {
        Some("*/") => !essence.is_empty(),
        Some(start) => essence.starts_with(start),
        None => range == essence,
    }
}
