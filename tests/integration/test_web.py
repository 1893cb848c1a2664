#!/usr/bin/python3
"""The reading worklist in headless Chromium, and what keeps it closed by plain HTTP.

test_web.py [FOLDER]: with a folder, screenshots are left there to be looked at."""
import hashlib
import http.client
import json
import pathlib
import sys

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402

TOKENS = {"dr-jones": "token-of-jones", "guest": "token-of-guest", "boss": "token-of-boss"}
EVIL = "<script>document.title+1</script>^<b>Ann</b>"


def configuration(port):
    roles = {"dr-jones": ("reader", True), "guest": ("viewer", False), "boss": ("admin", True)}
    users = [{"name": name, "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
              "role": roles[name][0], "patient": roles[name][1]} for name, token in TOKENS.items()]
    return {"port": port, "users": users}


class Plain:
    """HTTP without a browser."""

    def __init__(self, port):
        self.port, self.cookie, self.csrf = port, None, None

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if self.cookie:
            headers["Cookie"] = self.cookie
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()

    def login(self, token, code=200, **headers):
        answer, body = self.ask("POST", "/login", json.dumps({"token": token}), **headers)
        assert answer.status == code, (answer.status, body)
        if code == 200:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
            self.csrf = json.loads(body)["csrf"]
        return answer


def check_closed(port, key):
    """Without a session, with another's origin, without the secret: nothing."""
    nobody = Plain(port)
    for path in ("worklist", "report", "session", "events", f"study/{key}", f"study/{key}/image"):
        answer, body = nobody.ask("GET", "/api/v1/" + path)
        assert answer.status == 401 and b"Zebra" not in body, (path, answer.status)
    answer, _ = nobody.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    nobody.login("wrong", code=401)
    nobody.login(TOKENS["boss"], code=400, Origin="https://evil.example")
    reader = Plain(port)
    cookie = reader.login(TOKENS["dr-jones"]).headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie, cookie
    read = f"/api/v1/study/{key}/read"
    assert reader.ask("POST", read)[0].status == 403
    assert reader.ask("POST", read, **{"Medaid-CSRF": "0" * 64})[0].status == 403
    evil = {"Medaid-CSRF": reader.csrf, "Origin": "https://evil.example"}
    assert reader.ask("POST", read, **evil)[0].status == 403
    assert reader.ask("POST", f"/api/v1/study/{key}/retry", **{"Medaid-CSRF": reader.csrf})[0].status == 403
    # not an analysis that nobody has seen
    assert reader.ask("POST", read + "?generation=7", **{"Medaid-CSRF": reader.csrf})[0].status == 409
    assert reader.ask("GET", read)[0].status == 405
    assert reader.ask("DELETE", read)[0].status == 405
    assert reader.ask("POST", "/login", "x" * 5000)[0].status == 413
    for path in ("../etc/passwd", "/api/v1/study/../status", "/app.js/", "/api/v1/study/" + "f" * 16):
        assert reader.ask("GET", path)[0].status in (400, 404), path
    rules = "/api/v1/explain-rules"
    assert Plain(port).ask("POST", rules, b"x" * 100000)[0].status == 401
    assert reader.ask("POST", rules, b"x" * 100000)[0].status == 403
    answer, body = reader.ask("POST", rules, b"x" * 100000, **{"Medaid-CSRF": reader.csrf})
    assert answer.status == 400 and b"error" in body, body
    guest = Plain(port)
    guest.login(TOKENS["guest"])
    for path in ("worklist", f"study/{key}"):
        answer, body = guest.ask("GET", "/api/v1/" + path)
        assert answer.status == 200
        for mark in hospital.PATIENT:
            assert mark.encode() not in body, path
    assert guest.ask("GET", f"/api/v1/study/{key}/image")[0].status == 403
    assert guest.ask("POST", read, **{"Medaid-CSRF": guest.csrf})[0].status == 403
    assert guest.ask("POST", "/logout", **{"Medaid-CSRF": guest.csrf})[0].status == 204
    assert guest.ask("GET", "/api/v1/worklist")[0].status == 401
    many = Plain(port)
    for _ in range(45):  # 20 in a minute, which may end while they come
        answer, _body = many.ask("POST", "/login", json.dumps({"token": "wrong"}))
        if answer.status == 429:
            break
        assert answer.status == 401
    many.login(TOKENS["boss"], code=429)


class Browser:
    def __init__(self, port, folder):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1920,1080", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.port, self.folder = port, folder

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, key):
        ActionChains(self.driver).send_keys(key).perform()

    def shot(self, name):
        if self.folder:
            self.driver.save_screenshot(str(self.folder / f"{name}.png"))

    def login(self, token):
        self.driver.get(f"http://127.0.0.1:{self.port}/")
        hospital.wait_for("the form", lambda: self.one("#token").is_displayed())
        self.one("#token").send_keys(token + Keys.ENTER)

    def asked(self, end):
        """How often the page has asked something of a study."""
        return self.driver.execute_script(
            "return performance.getEntriesByType('resource').filter("
            "e => e.name.match('/api/v1/study/[0-9a-f/]*' + arguments[0])).length", end)

    def texts(self, selector):
        """In one go: the page draws itself anew when something changes."""
        return self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector)

    def rows(self):
        return self.texts("#list tbody tr")

    def shows_overlay(self):
        return self.driver.execute_script(
            "const o = document.querySelector('img.overlay'); return !!o && o.offsetWidth > 100")

    def problems(self):
        """What the console says, but for the 401 before the login and for wrong tokens, and the file
        that is none."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"
                and "401" not in line["message"] and "explain-rules" not in line["message"]]


def check_page(site, medaid, browser):
    browser.login("wrong")
    hospital.wait_for("the refusal", lambda: "nobody has this token" in browser.texts("#login-error")[0])
    browser.shot("login")
    browser.login(TOKENS["dr-jones"])
    hospital.wait_for("two rows", lambda: len(browser.rows()) == 2)
    assert "URGENT" in browser.rows()[0] and "Pneumonia: present" in browser.rows()[0], browser.rows()
    assert "Zebra" in " ".join(browser.rows())
    # a study that comes while one looks, with a name that would be a script
    film = site.film("--opacity", "left", "--patient-name", EVIL, seed=3)
    hospital.send(medaid, film)
    hospital.wait_for("a third row", lambda: len(browser.rows()) == 3)
    hospital.wait_for("its finding", lambda: all("present" in row for row in browser.rows()))
    assert "<script>" in " ".join(browser.rows()) and "<b>Ann</b>" in " ".join(browser.rows())
    assert not browser.all("#list b, #list script")
    browser.press("j")
    hospital.wait_for("the study", lambda: browser.all("#detail .picture img"))
    hospital.wait_for("the pictures", lambda: browser.driver.execute_script(
        "return [...document.querySelectorAll('#detail img')].every(i => i.naturalWidth > 100)"))
    hospital.wait_for("the overlay", browser.shows_overlay)
    hospital.wait_for("the similar cases", lambda: len(browser.texts("#similar .case")) == 2)
    assert all("distance 0." in text and "Pneumonia: present" in text for text in browser.texts("#similar .case"))
    assert "Zebra" in " ".join(browser.texts("#similar .case")) and not browser.all("#similar b, #similar script")
    browser.shot("study")
    browser.press("o")
    assert not browser.shows_overlay()
    n_details, n_similar = browser.asked("[0-9a-f]$"), browser.asked("similar$")
    assert n_details > 0 and n_similar > 0
    browser.press("a")
    hospital.wait_for("the word", lambda: "you agree" in browser.texts("#note")[0])
    assert "stored" in browser.texts("#detail")[0] and not browser.all("#retry")
    browser.press("t")
    assert browser.driver.execute_script("return document.documentElement.dataset.theme") in ("dark", "light")
    browser.shot("dark")
    hospital.wait_for("the study again", lambda: browser.asked("[0-9a-f]$") > n_details + 1)
    assert browser.asked("similar$") == n_similar and len(browser.texts("#similar .case")) == 2  # one search is enough
    browser.press("r")
    hospital.wait_for("two left", lambda: len(browser.rows()) == 2)
    browser.press("2")
    hospital.wait_for("one read", lambda: len(browser.rows()) == 1)
    browser.press("3")
    hospital.wait_for("the report", lambda: "PPV" in browser.texts("#report")[0])
    assert "1.000" in browser.texts("#report")[0]
    browser.shot("report")
    browser.press("4")
    hospital.wait_for("the form", lambda: browser.one("#file").is_displayed())
    browser.one("#file").send_keys(str(film))
    hospital.wait_for("the rules", lambda: "chest: applies" in (browser.texts("#rules-answer") + [""])[0])
    answer = browser.texts("#rules-answer")[0]
    assert "knees: does not match" in answer and "CHEST" in answer, answer
    browser.shot("rules")
    browser.one("#file").send_keys(str(pathlib.Path(__file__).resolve()))
    hospital.wait_for("the refusal", lambda: browser.texts("#rules-error")[0] != "")
    browser.press("1")
    browser.driver.set_window_size(820, 1180)
    browser.shot("tablet")
    width = browser.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, width
    problems = browser.problems()
    assert not problems, problems
    # the list is still on its way when the reader leaves: it must not come back on the screen
    browser.driver.execute_script("""
        const fetched = window.fetch;
        window.late = 0;
        window.fetch = async (...what) => {
          const answer = await fetched(...what);
          if (String(what[0]).includes("/worklist")) {
            await new Promise((done) => setTimeout(done, 500));
            window.late++;
          }
          return answer;
        };""")
    browser.press("1")
    browser.one("#logout").click()
    hospital.wait_for("the form", lambda: browser.one("#token").is_displayed())
    hospital.wait_for("the late list", lambda: browser.driver.execute_script("return window.late") > 0)
    assert not browser.rows()
    browser.login(TOKENS["guest"])
    hospital.wait_for("rows", lambda: len(browser.rows()) == 2)
    assert "Zebra" not in browser.driver.page_source and hospital.PATIENT[1] not in browser.driver.page_source
    browser.press("j")
    hospital.wait_for("the study", lambda: "Pictures are for those" in browser.texts("#detail")[0])
    hospital.wait_for("the similar cases", lambda: browser.texts("#similar .case"))
    assert "Zebra" not in browser.driver.page_source and not browser.all("#similar img")
    assert not browser.all("#mark-read") and not browser.all(".agree")
    problems = browser.problems()
    assert not problems, problems


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with hospital.Hospital("web") as site:
        (port,) = hospital.free_ports(1)
        pacs = site.orthanc().start()
        rules = [{"name": "knees", "when": {"tag": "BodyPartExamined", "eq": "KNEE"}, "then": {"priority": "LOW"}},
                 {"name": "chest", "when": {"tag": "BodyPartExamined", "in": ["CHEST", "LUNG"]},
                  "then": {"priority": "HIGH"}}]
        medaid = site.medaid(destinations=[pacs.destination()], web=configuration(port), rules=rules).start()
        hospital.send(medaid, site.film("--opacity", "right", seed=1), site.film("--opacity", "left", seed=2))
        hospital.wait_for("two studies", lambda: len(medaid.lines("results_sent")) == 2)
        browser = Browser(port, folder)
        try:
            check_page(site, medaid, browser)
        finally:
            browser.driver.quit()
        check_closed(port, medaid.lines("results_sent")[0]["study"])
        for mark in (*hospital.PATIENT, *TOKENS.values()):
            assert mark not in medaid.log(), mark
        medaid.stop()
    print("the page shows, follows, judges and marks; it is closed to others")


if __name__ == "__main__":
    main()
