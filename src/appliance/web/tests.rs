//! Where requests lead, with the ports of the world and behind another web server.

use super::asked::{Arrival, Asked};
use super::configuration::Configuration;
use super::pages::Pages;
use super::routes::{PageMaker, Route};
use crate::appliance::machine::place::{self, Place};
use http::header::LOCATION;
use http::request::Parts;
use proptest::prelude::any;

pub fn configuration(http_port: u16) -> Configuration {
    Configuration {
        hostname: "mail.wombat.example".to_owned(),
        domains: vec!["wombat.example".to_owned(), "koala.example".to_owned()],
        http_port,
        https_port: 443,
        sts_policy: String::new(),
        monitoring_path: Some("/monitoring".to_owned()),
    }
}

fn request(host: &str, target: &str, forwarded: Option<&str>) -> Parts {
    let mut request = http::Request::builder().uri(target).header("host", host);
    if let Some(protocol) = forwarded {
        request = request.header("x-forwarded-proto", protocol);
    }
    request.body(()).unwrap().into_parts().0
}

/// A machine's folder with the image's templates.
pub fn machine() -> (tempfile::TempDir, Place, Pages) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let templates = place.path(place::TEMPLATES).join("web");
    std::fs::create_dir_all(&templates).unwrap();
    let ours = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/overlay/usr/share/mailimg/templates/web"
    );
    for entry in std::fs::read_dir(ours).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), templates.join(entry.file_name())).unwrap();
    }
    let pages = Pages::load(&place).unwrap();
    (folder, place, pages)
}

#[test]
fn without_a_certificate_of_its_own_a_name_leads_to_the_hosts() {
    let (_folder, place, pages) = machine();
    let configuration = configuration(80);
    let location = |host: &str, is_covered: bool| {
        let parts = request(host, "/a?b", None);
        let arrival = Arrival {
            is_tls: false,
            is_proxy: false,
            is_trusted: false,
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let asked = Asked::parse(&configuration, &parts, arrival).unwrap();
        let maker = PageMaker {
            place: &place,
            pages: &pages,
            configuration: &configuration,
            is_covered,
        };
        let route = Route::find(&asked);
        assert_eq!(route, Route::Upgrade);
        let answer = maker.answer(route, &asked, None).unwrap();
        let response = answer.into_response("", false);
        response.headers()[LOCATION].to_str().unwrap().to_owned()
    };
    let at_host = "https://mail.wombat.example/a?b";
    assert_eq!(location("mail.wombat.example:80", true), at_host);
    assert_eq!(location("mta-sts.koala.example", false), at_host);
    assert_eq!(
        location("mta-sts.koala.example", true),
        "https://mta-sts.koala.example/a?b"
    );
    assert_eq!(location("evil.example", true), at_host);
}

#[test]
fn only_a_proxy_is_believed_to_have_had_tls() {
    let configuration = configuration(8080);
    let route = |forwarded, is_proxy| {
        let target = "/.well-known/mta-sts.txt";
        let parts = request("mta-sts.koala.example", target, forwarded);
        let arrival = Arrival {
            is_tls: false,
            is_proxy,
            is_trusted: false,
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        Route::find(&Asked::parse(&configuration, &parts, arrival).unwrap()) == Route::StsPolicy
    };
    assert!(route(Some("https"), true));
    assert!(!route(Some("https"), false));
    assert!(!route(Some("http"), true));
    assert!(!route(None, true));
}

proptest::proptest! {
    #[test]
    fn no_request_is_a_panic(
        host in "[ -~]{0,30}",
        path in "/[!-~]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..80),
        is_tls: bool,
    ) {
        let (_folder, place, pages) = machine();
        let configuration = configuration(80);
        let hosts = ["mail.wombat.example", "mta-sts.koala.example", host.as_str()];
        let paths = [
            path.clone(),
            format!("/autodiscover/autodiscover.xml?email={path}"),
            format!("/autodiscover/autodiscover.json{path}"),
            format!("/mail/config-v1.1.xml?emailaddress={path}"),
        ];
        for (host, target) in hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path))) {
            let request = http::Request::builder().uri(target).header("host", *host).body(());
            let Ok(request) = request else { continue };
            let parts = request.into_parts().0;
            let arrival = Arrival { is_tls, is_proxy: false, is_trusted: false, peer: std::net::Ipv4Addr::LOCALHOST.into() };
            let Some(asked) = Asked::parse(&configuration, &parts, arrival) else { continue };
            let maker = PageMaker {
                place: &place,
                pages: &pages,
                configuration: &configuration,
                is_covered: true,
            };
            let answer = maker.answer(Route::find(&asked), &asked, Some(&body)).unwrap();
            proptest::prop_assert!(!answer.status.is_server_error());
        }
    }
}
