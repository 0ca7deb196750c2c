//! The pod that runs the image, and the claim for what it keeps.
//!
//! What systemd needs follows <https://systemd.io/CONTAINER_INTERFACE/>. Kubernetes gives a
//! container a control group that it may write to only when it is privileged, which it
//! therefore is. Left out: a probe that restarts, since mail that waits is better than mail
//! that is cut off.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, ExecAction, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PodDNSConfig, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SecretVolumeSource, SecurityContext, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::name::{labels, metadata, secret_name};
use crate::format::oci::Reference;

/// Room for mail, unless somebody edits it.
const DATA_SIZE: &str = "20Gi";
/// What all services together need.
const MEMORY: &str = "1Gi";
/// Mode of settings.
const SETTINGS_MODE: i32 = 0o600;
/// A first start makes keys; seconds between two tries, and how many.
const STARTUP_PERIOD: i32 = 10;
const STARTUP_TRIES: i32 = 180;
/// Seconds between two tries afterwards, and how long one may take.
const READY_PERIOD: i32 = 60;
const PROBE_LIMIT: i32 = 45;
/// What is being delivered may end, in seconds.
const STOP_LIMIT: i64 = 120;
/// The only resolver: the pod's own, which validates.
const RESOLVER: &str = "127.0.0.1";

pub(super) fn stateful_set(name: &str, image: &Reference) -> StatefulSet {
    StatefulSet {
        metadata: metadata(name, labels(name)),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(name.to_owned()),
            selector: LabelSelector {
                match_labels: Some(labels(name)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(name)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(name, image)),
            },
            volume_claim_templates: Some(vec![claim(name)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn pod(name: &str, image: &Reference) -> PodSpec {
    PodSpec {
        // Its token would lie below /run/secrets, which holds the settings.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        node_selector: Some(texts([("kubernetes.io/arch", "amd64")])),
        dns_policy: Some("None".to_owned()),
        dns_config: Some(PodDNSConfig {
            nameservers: Some(vec![RESOLVER.to_owned()]),
            ..PodDNSConfig::default()
        }),
        termination_grace_period_seconds: Some(STOP_LIMIT),
        init_containers: Some(vec![open_run(image)]),
        containers: vec![container(image)],
        volumes: Some(vec![
            Volume {
                name: "run".to_owned(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: Some("Memory".to_owned()),
                    ..EmptyDirVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "settings".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret_name(name)),
                    default_mode: Some(SETTINGS_MODE),
                    // Without settings it waits for them.
                    optional: Some(true),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

/// Kubernetes lets everybody write to such a volume; /run is root's.
fn open_run(image: &Reference) -> Container {
    Container {
        name: "run".to_owned(),
        image: Some(image.to_string()),
        image_pull_policy: Some(pull_policy(image)),
        command: Some(words(["/usr/bin/chmod", "0755", "/run"])),
        volume_mounts: Some(vec![mount("run", "/run")]),
        ..Container::default()
    }
}

fn container(image: &Reference) -> Container {
    Container {
        name: "mail".to_owned(),
        image: Some(image.to_string()),
        image_pull_policy: Some(pull_policy(image)),
        // Says to systemd that this is no machine.
        env: Some(vec![EnvVar {
            name: "container".to_owned(),
            value: Some("oci".to_owned()),
            ..EnvVar::default()
        }]),
        security_context: Some(SecurityContext {
            privileged: Some(true),
            ..SecurityContext::default()
        }),
        resources: Some(ResourceRequirements {
            requests: Some(quantities([("memory", MEMORY)])),
            ..ResourceRequirements::default()
        }),
        startup_probe: Some(probe(STARTUP_PERIOD, STARTUP_TRIES)),
        readiness_probe: Some(probe(READY_PERIOD, 3)),
        volume_mounts: Some(vec![
            mount("run", "/run"),
            VolumeMount {
                read_only: Some(true),
                ..mount("settings", "/run/secrets")
            },
            mount("data", "/var"),
        ]),
        ..Container::default()
    }
}

/// A tag may have moved, a digest cannot.
fn pull_policy(image: &Reference) -> String {
    match image.digest {
        Some(_) => "IfNotPresent".to_owned(),
        None => "Always".to_owned(),
    }
}

/// Logs in as a client would; a pod without settings is not ready.
fn probe(period: i32, tries: i32) -> Probe {
    Probe {
        exec: Some(ExecAction {
            command: Some(words([
                "/usr/bin/mailctl",
                "health",
                "--timeout",
                "5",
                "--settings-needed",
            ])),
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(PROBE_LIMIT),
        failure_threshold: Some(tries),
        ..Probe::default()
    }
}

fn claim(name: &str) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: metadata("data", labels(name)),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(words(["ReadWriteOnce"])),
            resources: Some(VolumeResourceRequirements {
                requests: Some(quantities([("storage", DATA_SIZE)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

fn words<const COUNT: usize>(words: [&str; COUNT]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn texts<const COUNT: usize>(entries: [(&str, &str); COUNT]) -> BTreeMap<String, String> {
    entries
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn quantities<const COUNT: usize>(entries: [(&str, &str); COUNT]) -> BTreeMap<String, Quantity> {
    entries
        .map(|(key, value)| (key.to_owned(), Quantity(value.to_owned())))
        .into()
}
