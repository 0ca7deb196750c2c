//! The web server behind Debian's Apache, with the very lines that the README gives.

use super::client::{Answer, browse, exchange, plain, secure};
use super::site::{FreePorts, HOSTNAME, Site, make_pair};
use std::fmt::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";
/// Longest wait for it to listen.
const START: Duration = Duration::from_secs(30);

struct Apache {
    process: Child,
    http: u16,
    https: u16,
}

impl Apache {
    fn start(site: &Site) -> Self {
        assert!(Path::new(PROGRAM).exists(), "apt-get install apache2-bin");
        let ports = FreePorts::find();
        let (http, https) = ports.numbers();
        let folder = site.machine.path("apache");
        std::fs::create_dir_all(&folder).unwrap();
        let (_, chain, key) = make_pair(HOSTNAME, None);
        std::fs::write(folder.join("fullchain.pem"), chain).unwrap();
        std::fs::write(folder.join("privkey.pem"), key).unwrap();
        let folder = folder.to_str().unwrap();
        let mut text = String::new();
        for module in ["mpm_event", "authz_core", "proxy", "proxy_http", "ssl"] {
            writeln!(text, "LoadModule {module}_module {MODULES}/mod_{module}.so").unwrap();
        }
        write!(
            text,
            "ServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\n\
             Mutex sem\nErrorLog {folder}/error.log\nUser www-data\nGroup www-data\n\
             ServerName localhost\nListen 127.0.0.1:{http}\nListen 127.0.0.1:{https}\n"
        )
        .unwrap();
        let example = manual_example()
            .replace("*:80>", &format!("127.0.0.1:{http}>"))
            .replace("*:443>", &format!("127.0.0.1:{https}>"))
            .replace("192.168.1.5:8080", &format!("127.0.0.1:{}", site.http))
            .replace("192.168.1.5:8443", &format!("127.0.0.1:{}", site.https))
            .replace("/etc/ssl/mail", folder)
            .replace("example.org", "wombat.example");
        let path = format!("{folder}/apache.conf");
        std::fs::write(&path, text + &example).unwrap();
        // -X: one process, which ends with this test.
        drop(ports);
        let process = Command::new(PROGRAM)
            .args(["-X", "-f", &path])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut apache = Self {
            process,
            http,
            https,
        };
        apache.wait(folder);
        apache
    }

    fn wait(&mut self, folder: &str) {
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.https)).is_err() {
            let ended = self.process.try_wait().unwrap().is_some();
            let log = std::fs::read_to_string(format!("{folder}/error.log")).unwrap_or_default();
            assert!(!ended && began.elapsed() < START, "{log}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What stands in the manual for people to copy.
fn manual_example() -> String {
    let page = include_str!("../../../overlay/usr/share/mailimg/manual/web.md");
    let (_, rest) = page.split_once("## Behind your own web server").unwrap();
    let (_, rest) = rest.split_once("```apache\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn everything_passes_through_another_web_server() {
    let site = Site::start();
    let apache = Apache::start(&site);
    let challenge = site.machine.path("run/mailimg-acme/http/token");
    std::fs::write(challenge, "token.digest").unwrap();
    const CHALLENGE: &str = "GET /.well-known/acme-challenge/token";
    for host in [HOSTNAME, "mta-sts.wombat.example"] {
        let answer = plain(apache.http, host, CHALLENGE);
        assert_eq!((answer.status, answer.body.as_str()), (200, "token.digest"));
    }
    let answer = plain(apache.http, "mta-sts.wombat.example", "GET /x?y");
    assert_eq!(answer.status, 301);
    let location = answer.header("location");
    assert_eq!(location, Some("https://mta-sts.wombat.example/x?y"));

    const POLICY: &str = "GET /.well-known/mta-sts.txt";
    let direct = secure(site.https, "mta-sts.wombat.example", POLICY);
    let answer = secure(apache.https, "mta-sts.wombat.example", POLICY);
    assert_eq!((answer.status, &answer.body), (200, &direct.body));
    assert!(answer.body.contains("mode: enforce\r\n"));

    const AUTOCONFIG: &str = "GET /mail/config-v1.1.xml?emailaddress=jens%40wombat.example";
    for answer in [
        plain(apache.http, "autoconfig.wombat.example", AUTOCONFIG),
        secure(apache.https, "autoconfig.wombat.example", AUTOCONFIG),
    ] {
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .body
                .contains("<hostname>mail.wombat.example</hostname>")
        );
    }
    let body = "<EMailAddress>jens@wombat.example</EMailAddress>";
    let post = format!(
        "POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: autodiscover.wombat.example\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let stream = browse(apache.https, "autodiscover.wombat.example");
    let answer = Answer::parse(&exchange(stream, post.as_bytes()));
    assert!(
        answer.body.contains("<LoginName>jens@wombat.example<"),
        "{answer:?}"
    );
}

/// TLS may end at the other server, which then says so.
#[test]
fn forwarded_tls_counts_as_tls() {
    let site = Site::start();
    let ask = |protocol: &str| {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {HOSTNAME}\r\nX-Forwarded-Proto: {protocol}\r\n\
             Connection: close\r\n\r\n"
        );
        let stream = super::client::connect(site.http);
        Answer::parse(&exchange(stream, request.as_bytes()))
    };
    let answer = ask("https");
    assert_eq!(answer.status, 200);
    // Whether to insist on TLS is then for the one that has the certificate to say.
    assert_eq!(answer.header("strict-transport-security"), None);
    assert_eq!(ask("http").status, 301);
}
