//! The Creative Commons licences, by deed URL and by name.

use super::Licence;

/// Elements of a licence, in the order in which its code names them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Elements {
    by: bool,
    nc: bool,
    nd: bool,
    sa: bool,
}

/// Versions that Creative Commons has published.
const VERSIONS: [&str; 6] = ["1.0", "2.0", "2.1", "2.5", "3.0", "4.0"];

enum Word {
    /// Says that Creative Commons is meant.
    Owner,
    By,
    Nc,
    Nd,
    Sa,
    /// Says nothing about which licence it is.
    Filler,
}

/// What the words of a name mean; of two that fit the longer comes first.
const PHRASES: &[(&[&str], Word)] = &[
    (&["creative", "commons"], Word::Owner),
    (&["creativecommons"], Word::Owner),
    (&["cc"], Word::Owner),
    (&["attribution"], Word::By),
    (&["by"], Word::By),
    (&["non", "commercial"], Word::Nc),
    (&["noncommercial"], Word::Nc),
    (&["nc"], Word::Nc),
    (&["no", "derivative", "works"], Word::Nd),
    (&["no", "derivatives"], Word::Nd),
    (&["no", "derivs"], Word::Nd),
    (&["noderivatives"], Word::Nd),
    (&["noderivs"], Word::Nd),
    (&["noderivative", "works"], Word::Nd),
    (&["nd"], Word::Nd),
    (&["share", "alike"], Word::Sa),
    (&["sharealike"], Word::Sa),
    (&["sa"], Word::Sa),
    // How the FMA nicknames BY-NC-ND and BY-NC-SA.
    (&["aka", "music", "sharing"], Word::Filler),
    (&["aka", "remix"], Word::Filler),
    (&["music", "sharing"], Word::Filler),
    (&["licensed", "under"], Word::Filler),
    (&["the"], Word::Filler),
    (&["a"], Word::Filler),
    (&["license"], Word::Filler),
    (&["licence"], Word::Filler),
    (&["version"], Word::Filler),
    (&["v"], Word::Filler),
    (&["international"], Word::Filler),
    (&["unported"], Word::Filler),
    (&["generic"], Word::Filler),
    (&["public"], Word::Filler),
];

/// Jurisdictions with ports of their own: words of the name, code in the deed's URL
/// (creativecommons.org/licenses/list).
const JURISDICTIONS: &[(&[&str], &str)] = &[
    (&["united", "states"], "us"),
    (&["united", "kingdom"], "uk"),
    (&["uk", "england", "wales"], "uk"),
    (&["uk", "england", "and", "wales"], "uk"),
    (&["england", "wales"], "uk"),
    (&["england", "and", "wales"], "uk"),
    (&["uk", "scotland"], "scotland"),
    (&["scotland"], "scotland"),
    (&["argentina"], "ar"),
    (&["australia"], "au"),
    (&["austria"], "at"),
    (&["belgium"], "be"),
    (&["brazil"], "br"),
    (&["bulgaria"], "bg"),
    (&["canada"], "ca"),
    (&["chile"], "cl"),
    (&["china", "mainland"], "cn"),
    (&["mainland", "china"], "cn"),
    (&["colombia"], "co"),
    (&["costa", "rica"], "cr"),
    (&["croatia"], "hr"),
    (&["czech", "republic"], "cz"),
    (&["denmark"], "dk"),
    (&["ecuador"], "ec"),
    (&["egypt"], "eg"),
    (&["estonia"], "ee"),
    (&["finland"], "fi"),
    (&["france"], "fr"),
    (&["germany"], "de"),
    (&["greece"], "gr"),
    (&["guatemala"], "gt"),
    (&["hong", "kong"], "hk"),
    (&["hungary"], "hu"),
    (&["igo"], "igo"),
    (&["india"], "in"),
    (&["ireland"], "ie"),
    (&["israel"], "il"),
    (&["italy"], "it"),
    (&["japan"], "jp"),
    (&["luxembourg"], "lu"),
    (&["macedonia"], "mk"),
    (&["malaysia"], "my"),
    (&["malta"], "mt"),
    (&["mexico"], "mx"),
    (&["netherlands"], "nl"),
    (&["new", "zealand"], "nz"),
    (&["norway"], "no"),
    (&["peru"], "pe"),
    (&["philippines"], "ph"),
    (&["poland"], "pl"),
    (&["portugal"], "pt"),
    (&["puerto", "rico"], "pr"),
    (&["romania"], "ro"),
    (&["serbia"], "rs"),
    (&["singapore"], "sg"),
    (&["slovenia"], "si"),
    (&["south", "africa"], "za"),
    (&["south", "korea"], "kr"),
    (&["korea"], "kr"),
    (&["spain"], "es"),
    (&["sweden"], "se"),
    (&["switzerland"], "ch"),
    (&["taiwan"], "tw"),
    (&["thailand"], "th"),
    (&["uganda"], "ug"),
    (&["vietnam"], "vn"),
    // Codes as SPDX ids carry them (`CC-BY-3.0-US`).
    (&["us"], "us"),
    (&["uk"], "uk"),
    (&["de"], "de"),
    (&["fr"], "fr"),
    (&["nl"], "nl"),
    (&["at"], "at"),
    (&["au"], "au"),
    (&["jp"], "jp"),
];

/// Reads a deed's URL: `creativecommons.org/licenses/by-nc-sa/3.0/us/`, with or without scheme,
/// `www.`, `deed.de`, `legalcode`.
pub(super) fn from_url(url: &str) -> Option<Licence> {
    let lower = url.to_ascii_lowercase();
    let (before, rest) = lower.split_once("creativecommons.org/")?;
    if !matches!(
        before,
        "" | "http://" | "https://" | "www." | "http://www." | "https://www."
    ) {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let mut parts = rest
        .split('/')
        .map(|part| part.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '+'));
    let (area, code) = (parts.next()?, parts.next()?);
    let version = parts.next().unwrap_or_default();
    match (area, code) {
        ("publicdomain", "zero") => return Some(zero()),
        ("publicdomain", "mark") => return Some(public_domain_mark()),
        ("licenses", "publicdomain") => return Some(public_domain_dedication()),
        ("licenses", "sampling+" | "nc-sampling+" | "sampling") => return sampling(code, version),
        ("licenses", _) => {}
        _ => return None,
    }
    let mut elements = Elements::default();
    for element in code.split('-') {
        let flag = match element {
            "by" => &mut elements.by,
            "nc" => &mut elements.nc,
            "nd" => &mut elements.nd,
            "sa" => &mut elements.sa,
            _ => return None,
        };
        *flag = true;
    }
    let version = if version.is_empty() {
        None
    } else {
        Some(known_version(version)?)
    };
    let port = parts.next().filter(|port| is_jurisdiction(port));
    licence(elements, version, port)
}

/// Reads a name, spelled out or abbreviated; every word has to be understood.
pub(super) fn from_words(words: &[String]) -> Option<Licence> {
    let mut elements = Elements::default();
    let (mut version, mut port) = (None, None);
    let (mut owner, mut spelled_out) = (false, false);
    let mut rest = words;
    while let Some(first) = rest.first() {
        if let Some((phrase, word)) = PHRASES.iter().find(|(phrase, _)| starts_with(rest, phrase)) {
            match word {
                Word::Owner => owner = true,
                Word::By => elements.by = true,
                Word::Nc => elements.nc = true,
                Word::Nd => elements.nd = true,
                Word::Sa => elements.sa = true,
                Word::Filler => {}
            }
            spelled_out |= phrase[0] == "attribution";
            rest = &rest[phrase.len()..];
        } else if let Some((phrase, code)) = JURISDICTIONS
            .iter()
            .find(|(phrase, _)| starts_with(rest, phrase))
        {
            port = Some(*code);
            rest = &rest[phrase.len()..];
        } else if version.is_none() {
            version = Some(known_version(first)?);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    // A lone "by" or "nc" is a word, not a licence.
    if !(owner || spelled_out || elements.by && (elements.nc || elements.nd || elements.sa)) {
        return None;
    }
    licence(elements, version, port)
}

fn starts_with(words: &[String], phrase: &[&str]) -> bool {
    words.len() >= phrase.len()
        && words
            .iter()
            .zip(phrase)
            .all(|(word, wanted)| word == wanted)
}

/// `3.0`, and what people make of it: `3`, `v3.0`, `3.0+`.
fn known_version(text: &str) -> Option<&'static str> {
    let text = text.trim_start_matches('v').trim_end_matches('+');
    VERSIONS
        .into_iter()
        .find(|v| *v == text || v.strip_suffix(".0") == Some(text))
}

fn is_jurisdiction(code: &str) -> bool {
    JURISDICTIONS.iter().any(|(_, known)| *known == code)
}

fn licence(elements: Elements, version: Option<&str>, port: Option<&str>) -> Option<Licence> {
    let Elements { by, nc, nd, sa } = elements;
    // No licence both forbids derivatives and says how to share them; from 2.0 on all have BY.
    let without_by = !by && version.is_some_and(|version| version != "1.0");
    if nd && sa || without_by || !(by || nc || nd || sa) {
        return None;
    }
    let named = [
        (by, "BY", "Attribution"),
        (nc, "NC", "NonCommercial"),
        (nd, "ND", "NoDerivatives"),
        (sa, "SA", "ShareAlike"),
    ];
    let present = || named.iter().filter(|(there, ..)| *there);
    let code = present()
        .map(|(_, code, _)| *code)
        .collect::<Vec<_>>()
        .join("-");
    let words = present()
        .map(|(.., word)| *word)
        .collect::<Vec<_>>()
        .join("-");
    let Some(version) = version else {
        return Some(Licence::new(
            format!("CC-{code}"),
            format!("Creative Commons {words}"),
            None,
        ));
    };
    let url = format!(
        "https://creativecommons.org/licenses/{}/{version}/",
        code.to_lowercase()
    );
    let mut licence = Licence::new(
        format!("CC-{code}-{version}"),
        format!("Creative Commons {words} {version}"),
        Some(&url),
    );
    licence.port_url = port.map(|port| format!("{url}{port}/"));
    Some(licence)
}

pub(super) fn zero() -> Licence {
    let url = "https://creativecommons.org/publicdomain/zero/1.0/";
    Licence::new("CC0-1.0", "Creative Commons Zero 1.0", Some(url))
}

pub(super) fn public_domain_mark() -> Licence {
    let url = "https://creativecommons.org/publicdomain/mark/1.0/";
    Licence::new("CC-PDM-1.0", "Public Domain Mark 1.0", Some(url))
}

pub(super) fn public_domain_dedication() -> Licence {
    let url = "https://creativecommons.org/licenses/publicdomain/";
    Licence::new(
        "CC-PDDC",
        "Creative Commons Public Domain Dedication",
        Some(url),
    )
}

/// The retired Sampling licences, which SPDX does not list.
pub(super) fn sampling(code: &str, version: &str) -> Option<Licence> {
    let (id, name) = match code {
        "sampling" => ("Sampling", "Sampling"),
        "sampling+" => ("Sampling-Plus", "Sampling Plus"),
        "nc-sampling+" => ("NC-Sampling-Plus", "NonCommercial Sampling Plus"),
        _ => return None,
    };
    let version = known_version(if version.is_empty() { "1.0" } else { version })?;
    Some(Licence::new(
        format!("LicenseRef-CC-{id}-{version}"),
        format!("Creative Commons {name} {version}"),
        Some(&format!(
            "https://creativecommons.org/licenses/{code}/{version}/"
        )),
    ))
}
