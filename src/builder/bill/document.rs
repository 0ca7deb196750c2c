//! An SPDX 2.3 document as JSON has it, as far as this program writes it.
//!
//! Specification: <https://spdx.github.io/spdx-spec/v2.3/>, its JSON form in
//! <https://github.com/spdx/spdx-spec/blob/v2.3/schemas/spdx-schema.json>. Only
//! fields that are used are here; others are passed over when reading.

use serde::{Deserialize, Serialize};

/// Where the bill lies in the image.
pub const BILL_PATH: &str = "usr/share/mailimg/spdx.json";

/// What is said where nothing is known.
pub const NO_ASSERTION: &str = "NOASSERTION";

/// The document.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `SPDX-2.3`.
    pub spdx_version: String,
    /// `CC0-1.0`, as the specification demands.
    pub data_license: String,
    /// Its own identifier.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// Name of what it describes.
    pub name: String,
    /// A URI that no other document has.
    pub document_namespace: String,
    /// When and by what it was made.
    pub creation_info: CreationInfo,
    /// What a reader should know.
    pub comment: String,
    /// Identifiers of what it is about.
    pub document_describes: Vec<String>,
    /// The packages; the first is the image.
    pub packages: Vec<SpdxPackage>,
    /// The regular files of the root.
    pub files: Vec<File>,
    /// How they belong together.
    pub relationships: Vec<Relationship>,
}

/// When and by what a document was made.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreationInfo {
    /// `YYYY-MM-DDThh:mm:ssZ`.
    pub created: String,
    /// `Tool: NAME-VERSION` and the like.
    pub creators: Vec<String>,
}

/// A package, in SPDX's wide sense of the word.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpdxPackage {
    /// Its identifier.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_package_purpose: Option<String>,
    /// Who gives it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Where it came from.
    pub download_location: String,
    /// Whether its files are listed.
    pub files_analyzed: bool,
    /// One digest over all of them; there when they are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_verification_code: Option<VerificationCode>,
    /// Digests of the archive it came in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    /// What it was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_info: Option<String>,
    /// The licence that somebody concluded.
    pub license_concluded: String,
    /// The licence that its author declares.
    pub license_declared: String,
    /// Who holds the copyright.
    pub copyright_text: String,
    /// Its package URL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalReference>,
    /// What a reader should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Identifiers of its files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has_files: Vec<String>,
}

/// One digest over a package's files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationCode {
    /// SHA-1 over the files' sorted SHA-1s, hexadecimal.
    pub package_verification_code_value: String,
    /// Files that are not in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_verification_code_excluded_files: Vec<String>,
}

/// A digest.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    /// `SHA1` or `SHA256`.
    pub algorithm: String,
    /// Hexadecimal.
    pub checksum_value: String,
}

/// A name of a package elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalReference {
    /// `PACKAGE-MANAGER`.
    pub reference_category: String,
    /// `purl`.
    pub reference_type: String,
    /// The package URL.
    pub reference_locator: String,
}

/// A regular file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Its identifier.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// Its path from the root, beginning with `./`.
    pub file_name: String,
    /// SHA-1, which SPDX demands, and SHA-256.
    pub checksums: Vec<Checksum>,
}

/// How two things belong together.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    /// The one.
    pub spdx_element_id: String,
    /// How.
    pub relationship_type: String,
    /// The other.
    pub related_spdx_element: String,
}
