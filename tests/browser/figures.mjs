// Made-up figures of a day for every series that a panel asks for, into the store at a port.
//
// Names and labels are read from the panels' own queries, so that none is forgotten.
import fs from "node:fs";

const port = process.argv[2];
const folder = "src/appliance/monitoring/panels";
const text = fs.readdirSync(folder).map((name) => fs.readFileSync(`${folder}/${name}`, "utf8")).join("\n");
const names = new Set(text.match(/\b(?:postfix|dovecot|mailimg)_[a-z0-9_]+/g));
// What labels may be, where a query tells them apart.
const VALUES = {
  service: ["smtpd", "imap", "postfix"], transport: ["lmtp", "smtp"], status: ["sent", "deferred"], provider: ["google", "other"],
  stage: ["queue", "connection", "transmission"], queue: ["active", "deferred", "hold"], reason: ["relay", "unknown_recipient"],
  result: ["ok", "failed", "pass"], direction: ["in", "out"], protocol: ["TLSv1.3"], cipher: ["TLS_AES_256_GCM_SHA384"],
  kind: ["total", "available", "size", "free", "swap_total", "swap_free", "lost"], check: ["spf", "dkim", "dmarc"],
  user: ["anna@wombat.example", "bo@wombat.example"], action: ["keep", "fileinto"], command: ["FETCH", "SELECT"],
  mode: ["user", "system", "idle"], family: ["ipv4", "ipv6"], place: ["state"], le: ["0.1", "1", "+Inf"], name: ["mail.wombat.example"],
};
// Labels of a series, by the queries that name it.
function labels(name) {
  const found = new Set();
  for (const [, list] of text.matchAll(new RegExp(`by \\(([a-z, ]+)\\)[^"]*?\\b${name}\\b`, "g"))) {
    for (const label of list.split(",")) found.add(label.trim());
  }
  for (const [, list] of text.matchAll(new RegExp(`\\b${name}\\{([^}]*)\\}`, "g"))) {
    for (const [, label] of list.matchAll(/([a-z]+)!?=/g)) found.add(label);
  }
  if (name.endsWith("_bucket")) found.add("le");
  return [...found];
}
const combine = (keys) => keys.reduce((all, key) => all.flatMap((one) => VALUES[key].map((value) => ({ ...one, [key]: value }))), [{}]);

let seed = 7;
const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
const end = Math.floor(Date.now() / 15000) * 15;
const times = Array.from({ length: 1440 }, (_, index) => end - (1439 - index) * 60);
const lines = [];
for (const name of names) {
  for (const metric of combine(labels(name))) {
    let value = 0;
    const size = /bytes/.test(name) ? 2e8 : /timestamp|boot_time/.test(name) ? 0 : 4;
    const isCounter = /_total$|_bucket$|_sum$|_count$/.test(name);
    const large = metric.kind?.endsWith("total") || metric.kind === "size" ? 4 : 1;
    const values = times.map((time) => {
      if (/timestamp/.test(name)) return end + 61 * 86400;
      if (/boot_time/.test(name)) return end - 11 * 86400;
      const day = 0.6 + 0.4 * Math.sin((time / 86400) * 2 * Math.PI);
      if (isCounter) return (value += Math.round(random() * size * day) * (metric.le === "0.1" ? 0.5 : 1));
      if (large > 1) return size * large;
      return (value = Math.max(0, Math.min(size * 2, (value || size) + (random() - 0.5) * size * 0.2)));
    });
    lines.push(JSON.stringify({ metric: { __name__: name, ...metric }, values, timestamps: times.map((time) => time * 1000) }));
  }
}
for (let attempt = 0; ; attempt += 1) {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/import`, { method: "POST", body: lines.join("\n") });
    if (!answer.ok) throw new Error(await answer.text());
    break;
  } catch (error) {
    if (attempt > 50) throw error;
    await new Promise((done) => setTimeout(done, 200));
  }
}
// New series are found a moment after they came.
await fetch(`http://127.0.0.1:${port}/internal/force_flush`);
for (;;) {
  const count = await (await fetch(`http://127.0.0.1:${port}/api/v1/series/count`)).json();
  if (count.data[0] >= lines.length) break;
  await new Promise((done) => setTimeout(done, 200));
}
console.log(`${lines.length} series of figures`);
