//! Licences outside the Creative Commons building kit, each with the ways in which it is written.

use super::{Licence, creative_commons as cc};

struct Known {
    id: &'static str,
    name: &'static str,
    url: Option<&'static str>,
    /// Ways to write it, as lower-case words with single spaces.
    spellings: &'static [&'static str],
}

const fn known(
    id: &'static str,
    name: &'static str,
    url: &'static str,
    spellings: &'static [&'static str],
) -> Known {
    Known {
        id,
        name,
        url: Some(url),
        spellings,
    }
}

/// Free licences that music in software distributions carries, under their SPDX ids and the short
/// names of Debian's copyright format, and the FMA's own.
const KNOWN: &[Known] = &[
    known(
        "LicenseRef-FMA-Limited-Download-Only",
        "FMA-Limited: Download Only",
        "https://freemusicarchive.org/FMA_License",
        &[
            "fma limited download only",
            "fma limited",
            "fma license",
            "fma licence",
        ],
    ),
    known(
        "FSFAP",
        "FSF All Permissive License",
        "https://spdx.org/licenses/FSFAP.html",
        &["fsfap"],
    ),
    known(
        "LAL-1.3",
        "Free Art License 1.3",
        "https://artlibre.org/licence/lal/en/",
        &[
            "lal 1.3",
            "fal 1.3",
            "fal",
            "lal",
            "free art license 1.3",
            "free art license",
            "licence art libre",
            "licence art libre 1.3",
        ],
    ),
    known(
        "LAL-1.2",
        "Free Art License 1.2",
        "https://artlibre.org/licence/lal/en/",
        &["lal 1.2", "fal 1.2", "free art license 1.2"],
    ),
    known(
        "LicenseRef-OGA-BY-3.0",
        "OpenGameArt.org Attribution 3.0",
        "https://static.opengameart.org/OGA-BY-3.0.txt",
        &["oga by 3.0", "oga by 3.0+", "oga by 3", "oga by"],
    ),
    known(
        "LicenseRef-EFF-OAL-1.0",
        "EFF Open Audio License 1.0",
        "https://web.archive.org/web/2001/http://www.eff.org/IP/Open_licenses/eff_oal.html",
        &[
            "oal",
            "open audio license",
            "eff open audio license",
            "eff open audio license 1.0",
            "eff open audio license version 1",
        ],
    ),
    known(
        "GPL-1.0-or-later",
        "GNU GPL 1.0 or later",
        "https://www.gnu.org/licenses/old-licenses/gpl-1.0.html",
        &["gpl 1+", "gpl 1.0+", "gpl 1.0 or later", "gpl"],
    ),
    known(
        "GPL-2.0-only",
        "GNU GPL 2.0",
        "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html",
        &["gpl 2", "gpl 2.0", "gpl 2.0 only", "gplv2", "gpl v2"],
    ),
    known(
        "GPL-2.0-or-later",
        "GNU GPL 2.0 or later",
        "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html",
        &[
            "gpl 2+",
            "gpl 2.0+",
            "gpl 2.0 or later",
            "gplv2+",
            "gpl v2+",
        ],
    ),
    known(
        "GPL-3.0-only",
        "GNU GPL 3.0",
        "https://www.gnu.org/licenses/gpl-3.0.html",
        &["gpl 3", "gpl 3.0", "gpl 3.0 only", "gplv3", "gpl v3"],
    ),
    known(
        "GPL-3.0-or-later",
        "GNU GPL 3.0 or later",
        "https://www.gnu.org/licenses/gpl-3.0.html",
        &[
            "gpl 3+",
            "gpl 3.0+",
            "gpl 3.0 or later",
            "gplv3+",
            "gpl v3+",
        ],
    ),
    known(
        "LGPL-2.0-only",
        "GNU LGPL 2.0",
        "https://www.gnu.org/licenses/old-licenses/lgpl-2.0.html",
        &["lgpl 2", "lgpl 2.0", "lgpl 2.0 only"],
    ),
    known(
        "LGPL-3.0-only",
        "GNU LGPL 3.0",
        "https://www.gnu.org/licenses/lgpl-3.0.html",
        &["lgpl 3", "lgpl 3.0", "lgpl 3.0 only"],
    ),
    known(
        "LGPL-2.0-or-later",
        "GNU LGPL 2.0 or later",
        "https://www.gnu.org/licenses/old-licenses/lgpl-2.0.html",
        &["lgpl 2+", "lgpl 2.0+", "lgpl 2.0 or later"],
    ),
    known(
        "LGPL-2.1-only",
        "GNU LGPL 2.1",
        "https://www.gnu.org/licenses/old-licenses/lgpl-2.1.html",
        &["lgpl 2.1", "lgpl 2.1 only"],
    ),
    known(
        "LGPL-2.1-or-later",
        "GNU LGPL 2.1 or later",
        "https://www.gnu.org/licenses/old-licenses/lgpl-2.1.html",
        &["lgpl 2.1+", "lgpl 2.1 or later"],
    ),
    known(
        "LGPL-3.0-or-later",
        "GNU LGPL 3.0 or later",
        "https://www.gnu.org/licenses/lgpl-3.0.html",
        &["lgpl 3+", "lgpl 3.0+", "lgpl 3.0 or later"],
    ),
    known(
        "AGPL-3.0-or-later",
        "GNU AGPL 3.0 or later",
        "https://www.gnu.org/licenses/agpl-3.0.html",
        &["agpl 3+", "agpl 3.0+", "agpl 3.0 or later"],
    ),
    known(
        "MIT",
        "MIT License",
        "https://spdx.org/licenses/MIT.html",
        &["mit", "expat", "mit license", "mit expat"],
    ),
    known(
        "ISC",
        "ISC License",
        "https://spdx.org/licenses/ISC.html",
        &["isc"],
    ),
    known(
        "Zlib",
        "zlib License",
        "https://spdx.org/licenses/Zlib.html",
        &["zlib", "zlib license", "zlib libpng"],
    ),
    known(
        "BSD-2-Clause",
        "BSD 2-Clause License",
        "https://spdx.org/licenses/BSD-2-Clause.html",
        &["bsd 2 clause"],
    ),
    known(
        "BSD-3-Clause",
        "BSD 3-Clause License",
        "https://spdx.org/licenses/BSD-3-Clause.html",
        &["bsd 3 clause"],
    ),
    known(
        "Apache-2.0",
        "Apache License 2.0",
        "https://www.apache.org/licenses/LICENSE-2.0",
        &["apache 2.0", "apache 2", "apache license 2.0"],
    ),
    known(
        "Artistic-1.0",
        "Artistic License 1.0",
        "https://spdx.org/licenses/Artistic-1.0.html",
        &["artistic 1.0", "artistic 1"],
    ),
    known(
        "Artistic-2.0",
        "Artistic License 2.0",
        "https://spdx.org/licenses/Artistic-2.0.html",
        &["artistic 2.0", "artistic 2"],
    ),
    known(
        "Unlicense",
        "The Unlicense",
        "https://unlicense.org/",
        &["unlicense", "the unlicense"],
    ),
    known(
        "WTFPL",
        "WTFPL",
        "https://spdx.org/licenses/WTFPL.html",
        &["wtfpl", "wtfpl 2", "wtfpl 2.0"],
    ),
    known(
        "GFDL-1.2-or-later",
        "GNU FDL 1.2 or later",
        "https://www.gnu.org/licenses/old-licenses/fdl-1.2.html",
        &["gfdl 1.2+"],
    ),
    Known {
        id: "LicenseRef-Public-Domain",
        name: "Public domain",
        url: None,
        spellings: &[
            "public domain",
            "publicdomain",
            "pd",
            "no known copyright",
            "no rights reserved",
        ],
    },
    Known {
        id: "LicenseRef-All-Rights-Reserved",
        name: "All rights reserved",
        url: None,
        spellings: &["all rights reserved"],
    },
];

/// Host and path, without `www.`, and the id that they stand for.
const ADDRESSES: &[(&str, &str)] = &[
    (
        "freemusicarchive.org/fma_license",
        "LicenseRef-FMA-Limited-Download-Only",
    ),
    ("artlibre.org/licence/lal", "LAL-1.3"),
    ("gnu.org/licenses/gpl-3.0", "GPL-3.0-only"),
    ("gnu.org/licenses/old-licenses/gpl-2.0", "GPL-2.0-only"),
    ("opensource.org/licenses/mit", "MIT"),
    ("opensource.org/license/mit", "MIT"),
    ("apache.org/licenses/license-2.0", "Apache-2.0"),
    ("unlicense.org", "Unlicense"),
];

/// Finds a licence by the words of its name.
pub(super) fn from_words(words: &[String]) -> Option<Licence> {
    let spelling = words.join(" ");
    match spelling.as_str() {
        "cc0"
        | "cc0 1.0"
        | "cc 0"
        | "cc 0 1.0"
        | "cc zero"
        | "cc0 1.0 universal"
        | "creative commons 0"
        | "creative commons zero"
        | "creative commons zero 1.0"
        | "creative commons cc0"
        | "creative commons cc0 1.0"
        | "creative commons cc0 1.0 universal"
        | "creative commons zero cc0"
        | "cc0 1.0 universal public domain dedication"
        | "cc0 public domain dedication" => return Some(cc::zero()),
        "public domain mark"
        | "public domain mark 1.0"
        | "creative commons public domain mark 1.0"
        | "public domain mark 1.0 universal"
        | "cc pdm 1.0"
        | "cc pdm" => {
            return Some(cc::public_domain_mark());
        }
        "cc pddc" | "creative commons public domain" | "public domain dedication" => {
            return Some(cc::public_domain_dedication());
        }
        "sampling plus 1.0"
        | "sampling+ 1.0"
        | "cc sampling+ 1.0"
        | "creative commons sampling plus 1.0" => return cc::sampling("sampling+", "1.0"),
        "noncommercial sampling plus 1.0"
        | "nc sampling+ 1.0"
        | "cc nc sampling+ 1.0"
        | "creative commons noncommercial sampling plus 1.0" => {
            return cc::sampling("nc-sampling+", "1.0");
        }
        _ => {}
    }
    KNOWN
        .iter()
        .find(|known| known.spellings.contains(&spelling.as_str()))
        .map(row)
}

/// Finds a licence by its address.
pub(super) fn from_url(url: &str) -> Option<Licence> {
    let lower = url.to_ascii_lowercase();
    let address = lower
        .split_once("://")
        .map_or(lower.as_str(), |(_, address)| address);
    let address = address.strip_prefix("www.").unwrap_or(address);
    let (_, id) = ADDRESSES
        .iter()
        .find(|(prefix, _)| address.starts_with(prefix))?;
    KNOWN.iter().find(|known| known.id == *id).map(row)
}

fn row(known: &Known) -> Licence {
    Licence::new(known.id, known.name, known.url)
}
