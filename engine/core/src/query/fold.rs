//! Letters in one form, without case and without diacritics, for comparing text and names.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use icu_normalizer::ComposingNormalizerBorrowed;

/// One form of letters that Unicode holds for the same: composed where there is such a letter (Normalization Form C).
pub fn normalized(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Lower case, with one form of the Greek sigma, [`normalized`].
pub(super) fn lower(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        normalized(&text.to_lowercase().replace('ς', "σ")).into_owned()
    }
}

/// Drops diacritics from text that is in lower case: composed and decomposed letters become the bare letter, `ß`,
/// `æ`, `œ` and `þ` two letters. Text in scripts without diacritics stays as it is.
pub(super) fn without_diacritics(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\u{300}'..='\u{36F}' => {}
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            _ => out.push(BARE.get(&letter).copied().unwrap_or(letter)),
        }
    }
    Cow::Owned(out)
}

/// Like [`without_diacritics`], but writes umlauts and their Nordic kin with two letters, as names are often
/// transcribed: `ä` and `ö` and `ü` become `ae`, `oe` and `ue`, `ø` becomes `oe`, `å` becomes `aa`.
pub(super) fn transcribed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 4);
    for letter in text.chars() {
        match (letter, out.chars().next_back()) {
            ('ä', _) => out.push_str("ae"),
            ('ö' | 'ø', _) => out.push_str("oe"),
            ('ü', _) => out.push_str("ue"),
            ('å', _) => out.push_str("aa"),
            // The same letters, decomposed.
            ('\u{308}', Some('a' | 'o' | 'u')) => out.push('e'),
            ('\u{30A}', Some('a')) => out.push('a'),
            _ => out.push(letter),
        }
    }
    match without_diacritics(&out) {
        Cow::Owned(folded) => Cow::Owned(folded),
        Cow::Borrowed(_) => Cow::Owned(out),
    }
}

static BARE: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
    LETTERS
        .iter()
        .flat_map(|&(bare, composed)| composed.chars().map(move |letter| (letter, bare)))
        .collect()
});

/// Bare letters, and the composed lower case letters of the Unicode character database that decompose to them. The
/// Cyrillic `й` is a letter of its own and not listed.
const LETTERS: [(char, &str); 54] = [
    ('a', "àáâãäåāăąǎǟǡǻȁȃȧḁạảấầẩẫậắằẳẵặ"),
    ('b', "ḃḅḇ"),
    ('c', "çćĉċčḉ"),
    ('d', "ðďđḋḍḏḑḓ"),
    ('e', "èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ"),
    ('f', "ḟ"),
    ('g', "ĝğġģǧǵḡ"),
    ('h', "ĥħȟḣḥḧḩḫẖ"),
    ('i', "ìíîïĩīĭįıǐȉȋḭḯỉị"),
    ('j', "ĵǰ"),
    ('k', "ķǩḱḳḵ"),
    ('l', "ĺļľłḷḹḻḽ"),
    ('m', "ḿṁṃ"),
    ('n', "ñńņňǹṅṇṉṋ"),
    ('o', "òóôõöøōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợ"),
    ('p', "ṕṗ"),
    ('r', "ŕŗřȑȓṙṛṝṟ"),
    ('s', "śŝşšșṡṣṥṧṩ"),
    ('t', "ţťțṫṭṯṱẗ"),
    ('u', "ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự"),
    ('v', "ṽṿ"),
    ('w', "ŵẁẃẅẇẉẘ"),
    ('x', "ẋẍ"),
    ('y', "ýÿŷȳẏẙỳỵỷỹ"),
    ('z', "źżžẑẓẕ"),
    ('æ', "ǣǽ"),
    ('ø', "ǿ"),
    ('ſ', "ẛ"),
    ('ʒ', "ǯ"),
    ('α', "άἀἁἂἃἄἅἆἇὰάᾀᾁᾂᾃᾄᾅᾆᾇᾰᾱᾲᾳᾴᾶᾷ"),
    ('ε', "έἐἑἒἓἔἕὲέ"),
    ('η', "ήἠἡἢἣἤἥἦἧὴήᾐᾑᾒᾓᾔᾕᾖᾗῂῃῄῆῇ"),
    ('ι', "ΐίϊἰἱἲἳἴἵἶἷὶίῐῑῒΐῖῗ"),
    ('ο', "όὀὁὂὃὄὅὸό"),
    ('ρ', "ῤῥ"),
    ('σ', "ς"),
    ('υ', "ΰϋύὐὑὒὓὔὕὖὗὺύῠῡῢΰῦῧ"),
    ('ω', "ώὠὡὢὣὤὥὦὧὼώᾠᾡᾢᾣᾤᾥᾦᾧῲῳῴῶῷ"),
    ('а', "ӑӓ"),
    ('г', "ѓ"),
    ('е', "ѐёӗ"),
    ('ж', "ӂӝ"),
    ('з', "ӟ"),
    ('и', "ѝӣӥ"),
    ('к', "ќ"),
    ('о', "ӧ"),
    ('у', "ўӯӱӳ"),
    ('ч', "ӵ"),
    ('ы', "ӹ"),
    ('э', "ӭ"),
    ('і', "ї"),
    ('ѵ', "ѷ"),
    ('ә', "ӛ"),
    ('ө', "ӫ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds() {
        let check = |text: &str, expected: &str| assert_eq!(without_diacritics(&lower(text)), expected);
        check("DOE", "doe");
        check("Müller", "muller");
        check("Mu\u{308}ller", "muller");
        check("STRAẞE", "strasse");
        check("Łukasz Ørsted", "lukasz orsted");
        check("Nguyễn", "nguyen");
        check("ΣΊΣΥΦΟΣ", "σισυφοσ");
        check("Ёлкин", "елкин");
        check("王^小東", "王^小東");
    }

    #[test]
    fn transcribes() {
        let check = |text: &str, expected: &str| assert_eq!(transcribed(&lower(text)), expected);
        check("Doe", "doe");
        check("Müller", "mueller");
        check("Mu\u{308}ller", "mueller");
        check("Ørsted Ångström", "oersted aangstroem");
        check("A\u{30A}s", "aas");
        check("Groß Çelik", "gross celik");
    }
}
