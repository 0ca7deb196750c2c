// Every page in Chromium, at two widths; see ci/browser.
import fs from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const AXE = fs.readFileSync(`${process.env.NODE_PATH}/axe-core/axe.min.js`, "utf8");
const BASE = "https://mail.wombat.example:18443/monitoring";
const PAGES = {
  overview: "/", postfix: "/d/psfx/postfix", dovecot: "/d/dvct/dovecot", machine: "/d/mchn/machine", bans: "/d/bans/bans",
  dns: "/d/dnsy/dns-sanity", queue: "/queue", users: "/users",
};
const output = process.argv[2];
const problems = [];
const expect = (good, words) => good || problems.push(words);

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--host-resolver-rules=MAP mail.wombat.example 127.0.0.1, MAP * ~NOTFOUND"],
});

async function open(width, colorScheme, javaScriptEnabled = true) {
  const context = await browser.newContext({
    viewport: { width, height: width > 500 ? 900 : 844 }, ignoreHTTPSErrors: true, colorScheme, javaScriptEnabled,
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`${width} ${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`${width} ${page.url()}: ${error.message}`));
  page.on("request", (request) => expect(request.url().startsWith(`${BASE}/`), `asked elsewhere: ${request.url()}`));
  for (let attempt = 0; ; attempt += 1) {
    try {
      await page.goto(`${BASE}/`);
      break;
    } catch (error) {
      if (attempt > 25) throw error;
      await page.waitForTimeout(200);
    }
  }
  await page.screenshot({ path: `${output}/login-${width}.png` });
  if (javaScriptEnabled) await look(page, "login", width);
  await page.fill("[name=user]", "mail");
  await page.fill("[name=password]", "wombats watch");
  await page.click("form button");
  return page;
}

// Faults that axe-core finds; it is put in past the policy for content, which forbids scripts of others.
async function look(page, name, width) {
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: AXE });
  const faults = await page.evaluate(() => axe.run().then((found) => found.violations.map((one) => `${one.id}: ${one.nodes[0].html}`)));
  for (const fault of faults) problems.push(`${name} ${width}: ${fault}`);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(wider <= 0, `${name} is ${wider} pixels wider than ${width}`);
}

const drawn = (page) => page.waitForFunction(() => document.body.dataset.loaded === document.querySelector("#time select").value, null, { timeout: 10000 });

for (const [width, scheme] of [[1280, "light"], [390, "dark"]]) {
  const page = await open(width, scheme);
  for (const [name, path] of Object.entries(PAGES)) {
    await page.goto(BASE + path);
    if (name === "dns") await page.waitForSelector("text=Check again now", { timeout: 60000 });
    if (await page.$("#time")) {
      await drawn(page);
      const empty = await page.$$eval("section[data-panel].blank h2", (heads) => heads.map((head) => head.textContent));
      // Nothing restarts in made-up figures.
      expect(empty.every((title) => title.startsWith("Restarts")), `${name}: empty are ${empty}`);
    }
    await page.screenshot({ path: `${output}/${name}-${width}.png`, fullPage: true });
    await look(page, name, width);
  }

  // Time: the chart, the address and the links to other pages change.
  await page.goto(`${BASE}/d/mchn/machine`);
  await drawn(page);
  await page.selectOption("#time select[name=range]", "24h");
  await drawn(page);
  expect(page.url().endsWith("range=24h"), `the address is ${page.url()}`);
  // Keys: a chart says its values.
  await page.focus("section[data-panel=load] .chart");
  await page.keyboard.press("ArrowLeft");
  expect((await page.textContent("section[data-panel=load] .tip")).includes("1 minute"), "the arrow keys say nothing");
  // Theme: it changes, and stays on the next page.
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await back();
  await page.click("#theme");
  expect((await back()) !== before, "the theme does not change");
  await page.screenshot({ path: `${output}/machine-other-theme-${width}.png`, fullPage: true });
  await look(page, "machine in the other theme", width);
  await page.goto(`${BASE}/d/dnsy/dns-sanity`);
  expect((await back()) !== before, "the theme does not stay");
  await look(page, "dns in the other theme", width);
  // Copying: what is copied is the record.
  const details = page.locator("details:has(button.copy)").first();
  await details.evaluate((one) => { one.open = true; });
  const button = details.locator("button.copy").last();
  const value = await button.getAttribute("data-copy");
  await button.click();
  expect((await page.evaluate(() => navigator.clipboard.readText())) === value, `${value} is not copied`);
  // Logging out ends it.
  await page.click("text=Log out");
  await page.goto(`${BASE}/queue`);
  expect(page.url().includes("/login"), "still logged in");
  await page.context().close();
}

// Without scripts: every page is complete, DNS as text, and values as tables.
const plain = await open(1280, "light", false);
for (const [name, path] of Object.entries(PAGES)) {
  await plain.goto(BASE + path);
  await plain.screenshot({ path: `${output}/${name}-without-scripts.png`, fullPage: true });
}
await plain.goto(`${BASE}/d/dnsy/dns-sanity`);
expect((await plain.textContent("main")).includes("v=spf1"), "no record as text");
await plain.goto(`${BASE}/d/psfx/postfix`);
expect(await plain.isVisible("section[data-panel=received] table"), "no values as a table");
await plain.goto(`${BASE}/?range=24h`);
expect((await plain.textContent("#time")).includes("Show"), "no way to change the time");

await browser.close();
for (const problem of problems) console.error(problem);
console.log(problems.length === 0 ? `every page is good; screenshots are in ${output}` : `${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
