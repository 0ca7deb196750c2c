//! The root certificate that `ACME_CA_FILE` names: taken, kept, trusted, and told when wrong.

use crate::world::machine::Machine;
use predicates::str::contains;

const SETTINGS: &str = "DOMAIN=a.example\nHOSTNAME=mail.a.example\n\
    ADMIN_USER_INITIAL_PASSWORD=s3cret\nACME_CA_FILE=my root.pem\n";
const IMAGE_ROOTS: &str = "# the image's\n";
const KEPT: &str = "var/lib/mailimg/private-ca.pem";
const TRUST: &str = "run/mailimg/trust.pem";
const ISSUE: &str = "run/issue.d/50-mailimg.issue";

fn root() -> String {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&key).unwrap();
    root.pem().replace("\r\n", "\n")
}

fn machine() -> Machine {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.path("etc/ssl/certs")).unwrap();
    let roots = machine.path("etc/ssl/certs/ca-certificates.crt");
    std::fs::write(roots, IMAGE_ROOTS).unwrap();
    machine
}

fn put_root(machine: &Machine, text: &str) {
    std::fs::write(machine.path("run/mailimg-initrd/esp/my root.pem"), text).unwrap();
}

#[test]
fn it_comes_from_the_esp_and_goes_with_the_key() {
    let machine = machine();
    machine.put_esp(SETTINGS);
    let first = root();
    put_root(&machine, &first);
    machine.boot();
    assert_eq!(machine.read(KEPT), first);
    assert_eq!(machine.read(TRUST), format!("{IMAGE_ROOTS}{first}"));
    assert!(
        machine
            .read("run/mailimg/postfix/main.cf")
            .contains("\nsmtp_tls_CAfile = /run/mailimg/trust.pem\n")
    );
    let esp = machine.read("run/mailimg-initrd/esp/settings.env");
    assert!(esp.contains("__KEPT_ON_THE_MACHINE__"), "{esp}");
    machine
        .run(&["import-settings"])
        .success()
        .stdout("Settings are unchanged.\n");

    // Another certificate under the same name is news.
    let second = root();
    put_root(&machine, &format!("a comment\n{second}"));
    machine.boot();
    assert_eq!(machine.read(KEPT), second);
    assert!(
        machine
            .read("var/lib/mailimg/settings.env")
            .contains("s3cret")
    );

    machine.put_esp(&esp.replace("ACME_CA_FILE", "# "));
    machine.boot();
    assert!(!machine.path(KEPT).exists());
    assert_eq!(machine.read(TRUST), IMAGE_ROOTS);
}

#[test]
fn a_missing_or_wrong_one_is_told_with_its_key() {
    let machine = machine();
    machine.put_esp(SETTINGS);
    machine
        .run(&["import-settings"])
        .success()
        .stderr(contains(
            "The settings of the EFI system partition were not taken.\n\
             error: ACME_CA_FILE: the file my root.pem on the EFI system partition: it is not there\n\
             hint: put my root.pem beside settings.env, or remove the line ACME_CA_FILE\n",
        ));
    machine.boot();
    assert!(
        machine
            .read(ISSUE)
            .contains("ACME_CA_FILE: the file my root.pem")
    );
    assert!(!machine.path("var/lib/mailimg/settings.env").exists());

    for (bad, problem) in [
        ("", "it holds no certificate"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "it holds a private key",
        ),
        (
            &"x".repeat(1 << 20),
            "it has 32769 bytes; expected at most 32768",
        ),
    ] {
        put_root(&machine, bad);
        machine
            .run(&["import-settings"])
            .success()
            .stderr(contains(problem));
        assert!(!machine.path(KEPT).exists());
    }
    put_root(&machine, &root());
    machine.boot();
    assert!(machine.path(KEPT).exists());
    assert!(!machine.read(ISSUE).contains("ACME_CA_FILE"));
}

#[test]
fn with_a_credential_it_is_a_credential() {
    let machine = machine();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.env"), SETTINGS).unwrap();
    let import = || {
        machine
            .command(&["import-settings"])
            .env("CREDENTIALS_DIRECTORY", folder.path())
            .assert()
            .success()
    };
    import().stderr(contains(
        "error: ACME_CA_FILE: the systemd credential private-ca.pem: it is not there\n\
         hint: hand my root.pem over as the credential private-ca.pem",
    ));
    let root = root();
    std::fs::write(folder.path().join("private-ca.pem"), &root).unwrap();
    import().stdout("Took settings from the systemd credential.\n");
    import().stdout("Settings are unchanged.\n");
    assert_eq!(machine.read(KEPT), root);
}
