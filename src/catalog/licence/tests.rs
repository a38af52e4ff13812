use proptest::prelude::*;

use super::*;

fn id(text: &str) -> String {
    normalise(Some(text), None).unwrap().id
}

#[test]
fn names_are_normalised() {
    for (text, expected) in [
        // As the FMA spells them.
        (
            "Attribution-Noncommercial-Share Alike 3.0 United States",
            "CC-BY-NC-SA-3.0",
        ),
        (
            "Attribution-NonCommercial-ShareAlike 3.0 International",
            "CC-BY-NC-SA-3.0",
        ),
        (
            "Attribution-NonCommercial-NoDerivatives (aka Music Sharing) 3.0 International",
            "CC-BY-NC-ND-3.0",
        ),
        (
            "Attribution-Noncommercial-No Derivative Works 3.0 United States",
            "CC-BY-NC-ND-3.0",
        ),
        (
            "Attribution-NonCommercial-NoDerivs 2.5 Canada",
            "CC-BY-NC-ND-2.5",
        ),
        ("Attribution-Share Alike 2.5 Generic", "CC-BY-SA-2.5"),
        (
            "Attribution-NonCommercial 2.0 UK: England & Wales",
            "CC-BY-NC-2.0",
        ),
        ("Attribution 3.0 Unported", "CC-BY-3.0"),
        ("Attribution-NoDerivatives 4.0", "CC-BY-ND-4.0"),
        ("Attribution", "CC-BY"),
        ("Attribution-NonCommercial", "CC-BY-NC"),
        (
            "Creative Commons Attribution 4.0 International",
            "CC-BY-4.0",
        ),
        (
            "Creative Commons Attribution-NonCommercial-ShareAlike 3.0 Germany License",
            "CC-BY-NC-SA-3.0",
        ),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("Public Domain Mark 1.0", "CC-PDM-1.0"),
        ("Public Domain", "LicenseRef-Public-Domain"),
        (
            "FMA-Limited: Download Only",
            "LicenseRef-FMA-Limited-Download-Only",
        ),
        ("Sampling Plus 1.0", "LicenseRef-CC-Sampling-Plus-1.0"),
        ("Free Art License", "LAL-1.3"),
        // As others abbreviate them.
        ("CC-BY-3.0", "CC-BY-3.0"),
        ("cc by-sa 4.0", "CC-BY-SA-4.0"),
        ("CC-BY-NC-SA-3.0-US", "CC-BY-NC-SA-3.0"),
        ("by-nc-sa v3.0", "CC-BY-NC-SA-3.0"),
        ("CC-BY-SA-3", "CC-BY-SA-3.0"),
        ("CC BY-SA 3.0+", "CC-BY-SA-3.0"),
        ("CC0", "CC0-1.0"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-3.0-or-later", "GPL-3.0-or-later"),
        ("Expat", "MIT"),
        ("OGA-BY-3.0", "LicenseRef-OGA-BY-3.0"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("CC-BY-SA-3.0 or GPL-2+", "CC-BY-SA-3.0 OR GPL-2.0-or-later"),
        ("GPL-2+ and CC-BY-3.0", "GPL-2.0-or-later AND CC-BY-3.0"),
        // A sentence with the address in it.
        (
            "Licensed to the public under http://creativecommons.org/licenses/by-sa/2.5/ verify at https://x.org",
            "CC-BY-SA-2.5",
        ),
    ] {
        assert_eq!(id(text), expected, "{text}");
    }
}

#[test]
fn addresses_are_normalised() {
    for (url, expected, port) in [
        (
            "http://creativecommons.org/licenses/by-nc-sa/3.0/us/",
            "CC-BY-NC-SA-3.0",
            Some("https://creativecommons.org/licenses/by-nc-sa/3.0/us/"),
        ),
        (
            "https://creativecommons.org/licenses/by/4.0/",
            "CC-BY-4.0",
            None,
        ),
        (
            "https://www.creativecommons.org/licenses/by/4.0/deed.de",
            "CC-BY-4.0",
            None,
        ),
        (
            "creativecommons.org/licenses/by-nd/2.0/uk/legalcode",
            "CC-BY-ND-2.0",
            Some("https://creativecommons.org/licenses/by-nd/2.0/uk/"),
        ),
        (
            "http://creativecommons.org/licenses/nc-sa/1.0/",
            "CC-NC-SA-1.0",
            None,
        ),
        (
            "http://creativecommons.org/publicdomain/zero/1.0/",
            "CC0-1.0",
            None,
        ),
        (
            "http://creativecommons.org/publicdomain/mark/1.0/",
            "CC-PDM-1.0",
            None,
        ),
        (
            "http://creativecommons.org/licenses/publicdomain/",
            "CC-PDDC",
            None,
        ),
        (
            "http://creativecommons.org/licenses/sampling+/1.0/",
            "LicenseRef-CC-Sampling-Plus-1.0",
            None,
        ),
        (
            "http://www.freemusicarchive.org/FMA_License",
            "LicenseRef-FMA-Limited-Download-Only",
            None,
        ),
        ("http://artlibre.org/licence/lal/en", "LAL-1.3", None),
    ] {
        let licence = normalise(None, Some(url)).unwrap();
        assert_eq!(licence.id, expected, "{url}");
        assert_eq!(licence.port_url.as_deref(), port, "{url}");
        assert!(licence.url.is_some(), "{url}");
    }
}

#[test]
fn the_address_decides_and_the_port_is_kept() {
    let licence = normalise(
        Some("Attribution"),
        Some("https://creativecommons.org/licenses/by/4.0/"),
    )
    .unwrap();
    assert_eq!(licence.id, "CC-BY-4.0");
    let licence = normalise(Some("Attribution 3.0 France"), None).unwrap();
    assert_eq!(licence.name, "Creative Commons Attribution 3.0");
    assert_eq!(
        licence.url.unwrap(),
        "https://creativecommons.org/licenses/by/3.0/"
    );
    assert_eq!(
        licence.port_url.unwrap(),
        "https://creativecommons.org/licenses/by/3.0/fr/"
    );
}

#[test]
fn the_unknown_keeps_its_text() {
    for (text, expected) in [
        ("Orphan Work", "LicenseRef-Orphan-Work"),
        ("by", "LicenseRef-by"),
        ("All you can eat 2.0", "LicenseRef-All-you-can-eat-2.0"),
        // Half-known is unknown: the rest may say the opposite.
        (
            "CC-BY-3.0 except on Sundays",
            "LicenseRef-CC-BY-3.0-except-on-Sundays",
        ),
        ("CC-BY-9.0", "LicenseRef-CC-BY-9.0"),
        ("CC-BY-ND-SA-3.0", "LicenseRef-CC-BY-ND-SA-3.0"),
        ("GPL-2 / CC-BY-SA", "LicenseRef-GPL-2-CC-BY-SA"),
        ("GPL-2 or whatever", "LicenseRef-GPL-2-or-whatever"),
    ] {
        let licence = normalise(Some(text), None).unwrap();
        assert_eq!(
            (licence.id.as_str(), licence.name.as_str()),
            (expected, text)
        );
    }
    // Neither can be had from the other, so both keep a piece of their hash.
    assert_ne!(id("自由"), id("不自由"));
    assert_ne!(
        id(&format!("{}a", "x".repeat(90))),
        id(&format!("{}b", "x".repeat(90)))
    );
    let lookalike = "http://evil.example/creativecommons.org/licenses/by/4.0/";
    assert!(
        normalise(None, Some(lookalike))
            .unwrap()
            .id
            .starts_with("LicenseRef-")
    );
    assert_eq!(normalise(None, Some("javascript:x")).unwrap().url, None);
}

#[test]
fn nothing_said_is_no_licence() {
    assert_eq!(normalise(None, None), None);
    assert_eq!(normalise(Some("  "), Some("")), None);
}

#[test]
fn normalising_an_id_gives_the_id() {
    for text in [
        "CC-BY-NC-ND-2.1",
        "CC0-1.0",
        "CC-PDM-1.0",
        "LAL-1.3",
        "GPL-2.0-or-later",
        "CC-BY",
        "MIT",
        "Zlib",
    ] {
        assert_eq!(id(text), text);
    }
}

proptest! {
    #[test]
    fn any_text_gives_an_spdx_id(text in any::<String>(), url in any::<Option<String>>()) {
        if let Some(licence) = normalise(Some(&text), url.as_deref()) {
            prop_assert!(licence.id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-. ".contains(&b)));
            prop_assert!(licence.id.len() <= 200);
        }
    }

    #[test]
    fn words_of_licences_in_any_order_never_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec!["cc", "by", "nc", "nd", "sa", "3.0", "or", "and", "gpl", "2+",
                "united", "states", "share", "alike", "http://creativecommons.org/licenses/", "/", "(", "."]),
            0..9,
        ),
    ) {
        let _ = normalise(Some(&words.join(" ")), Some(&words.concat()));
    }
}
