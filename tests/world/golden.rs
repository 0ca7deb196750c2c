//! Texts that are kept whole in `tests/golden`, so that a change reads as a diff.

/// Compares a text with the one kept under that name.
pub fn assert_golden(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../golden",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}
