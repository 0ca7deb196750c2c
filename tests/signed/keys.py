"""The keys as they are published, sound and odd: `k` has the signer's name of each."""

from signer import KEYS, text64

RSA = text64(KEYS["rsa1024"].public())
ED25519 = text64(KEYS["ed25519"].public())

# Of a.example, by selector; those that are not a signer's name are signed with rsa1024.
SELECTORS = {
    "rsa512": "v=DKIM1; k=rsa; p=" + text64(KEYS["rsa512"].public()),
    "rsa1024": "v=DKIM1; k=rsa; p=" + RSA,
    "rsa2048": "v=DKIM1; k=rsa; p=" + text64(KEYS["rsa2048"].public()),
    "rsa4096": "v=DKIM1; k=rsa; p=" + text64(KEYS["rsa4096"].public()),
    "ed25519": "v=DKIM1; k=ed25519; p=" + ED25519,
    "bare": "p=" + text64(KEYS["rsa1024"].bare()),
    "another": "v=DKIM1; p=" + text64(KEYS["other"].public()),
    "unnamed": "p=" + RSA,
    "spaced": f" v = DKIM1 ;\tk = rsa ; p = {RSA[:40]} {RSA[40:99]}\t{RSA[99:]} ; ",
    "notes": f"v=DKIM1; n=for=tests; p={RSA}; x_new=1",
    "hyphen": f"v=DKIM1; p={RSA}; x-new=1",
    "testing": f"v=DKIM1; t=y; p={RSA}",
    "strict": f"v=DKIM1; t=s; p={RSA}",
    "both": f"v=DKIM1; t=y:s; p={RSA}",
    "email": f"v=DKIM1; s=email; p={RSA}",
    "any": f"v=DKIM1; s=*; p={RSA}",
    "several": f"v=DKIM1; s=other : email; p={RSA}",
    "hashes": f"v=DKIM1; h=sha1 : sha256; p={RSA}",
    "sha256": f"v=DKIM1; h=sha256; p={RSA}",
    "sha1": f"v=DKIM1; h=sha1; p={RSA}",
    "gone": "v=DKIM1; p=",
    "gone-too": "v=DKIM1; k=rsa; p=;",
    "empty": "",
    "version": f"v=DKIM2; p={RSA}",
    "late": f"p={RSA}; v=DKIM1",
    "twice": f"v=DKIM1; p={RSA}; p={RSA}",
    "keyless": "v=DKIM1; k=rsa",
    "kind": f"v=DKIM1; k=dsa; p={RSA}",
    "says-ed25519": f"v=DKIM1; k=ed25519; p={RSA}",
    "says-rsa": f"v=DKIM1; k=rsa; p={ED25519}",
    "short-ed25519": f"v=DKIM1; k=ed25519; p={ED25519[:40]}",
    "report": f"v=DKIM1; s=tlsrpt; p={RSA}",
    "unpadded": "v=DKIM1; p=" + text64(KEYS["rsa1024"].bare()).rstrip("="),
    "letters": f"v=DKIM1; p={RSA[:50]}?{RSA[50:]}",
    "cut": f"v=DKIM1; p={RSA[:100]}",
    "words": "this is no key",
    "loose": f"v=DKIM1;; p={RSA}",
}

RECORDS = {f"{name}._domainkey.a.example": record for name, record in SELECTORS.items()}
for name, domain in [
    ("rsa1024", "lists.example"),
    ("rsa2048", "lists.example"),
    ("ed25519", "lists.example"),
    ("rsa512", "lists.example"),
    ("gone", "lists.example"),
    ("rsa1024", "news.a.example"),
    ("rsa1024", "xn--bcher-kva.example"),
]:
    RECORDS[f"{name}._domainkey.{domain}"] = SELECTORS[name]
RECORDS["xn--s-bga._domainkey.xn--bcher-kva.example"] = SELECTORS["rsa1024"]
