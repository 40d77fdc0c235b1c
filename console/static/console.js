// What the pages do in the browser: copy ids, times in the person's zone, dark or light, charts, the curl of `Try it`.
(function () {
  "use strict";
  const token = document.querySelector('meta[name="csrf"]').content;

  document.body.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF-Token"] = token;
  });
  // Refusals are shown where the answer would be: a page for people, not an event that nobody sees.
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status >= 400 && event.detail.xhr.status < 500) event.detail.shouldSwap = true;
  });

  // Copying.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const from = button.dataset.copyFrom;
    const text = from ? document.getElementById(from).textContent : button.dataset.copy;
    navigator.clipboard.writeText(text).then(() => {
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1200);
    });
  });

  // Times: UTC as sent, or local.
  const zone = document.getElementById("zone");
  function showTimes(root) {
    const local = localStorage.getItem("zone") === "local";
    for (const each of root.querySelectorAll("time[datetime]")) {
      if (!each.dataset.utc) each.dataset.utc = each.textContent;
      const moment = new Date(each.dateTime);
      const there = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      each.textContent = local ? there : each.dataset.utc;
      each.title = local ? each.dataset.utc : there + " local time";
    }
    zone.textContent = local ? "local time" : "UTC";
    zone.setAttribute("aria-pressed", String(local));
  }
  zone.addEventListener("click", () => {
    localStorage.setItem("zone", localStorage.getItem("zone") === "local" ? "utc" : "local");
    showTimes(document);
  });

  document.getElementById("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    document.documentElement.dataset.theme = next;
    draw(document);
  });

  // Charts.
  function draw(root) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const strokes = ["--series-0", "--series-1", "--series-2", "--series-3", "--series-4"].map(color);
    for (const each of root.querySelectorAll(".draw[data-plot]")) {
      const plot = JSON.parse(each.dataset.plot);
      each.replaceChildren();
      if (!plot.data[0].length) continue;
      const axis = { stroke: color("--text"), grid: { stroke: color("--line") }, ticks: { stroke: color("--line") } };
      const bounds = plot.series.length === 3 && plot.series[0] === "ratio";
      new uPlot(
        {
          width: Math.max(260, each.clientWidth),
          height: 200,
          scales: { x: { time: plot.x === "time" } },
          axes: [{ ...axis, label: plot.x === "time" ? undefined : plot.x }, axis],
          legend: { live: false },
          cursor: { drag: { x: false, y: false } },
          series: [
            { label: plot.x },
            ...plot.series.map((name, number) => ({
              label: name,
              stroke: strokes[number % strokes.length],
              width: 2,
              dash: bounds && number > 0 ? [6, 4] : undefined,
              points: { show: plot.data[0].length < 40 && !(bounds && number > 0) },
            })),
          ],
        },
        plot.data,
        each,
      );
    }
  }

  // The threshold of the simulator.
  document.addEventListener("input", (event) => {
    if (event.target.id === "threshold") showThreshold(event.target);
    if (event.target.closest("form.contract")) showCurl();
  });
  function showThreshold(slider) {
    const row = JSON.parse(slider.dataset.rows)[Number(slider.value)];
    const share = (value) => (value === null ? "-" : (100 * value).toFixed(2) + " %");
    document.getElementById("at-threshold").textContent =
      `${row.threshold.toFixed(2)}: precision ${share(row.precision)}, recall ${share(row.recall)}, ` +
      `${row.alerts_a_day.toFixed(1)} alerts a day, ${row.missed} frauds missed`;
  }

  // The command beside the form; the server writes the one that it has sent.
  const curl = document.getElementById("curl");
  const begin = curl ? curl.textContent.slice(0, curl.textContent.indexOf(" -d ") + 4) : "";
  function showCurl() {
    const transaction = {};
    for (const field of document.querySelectorAll("[data-feature]")) {
      const number = ["number", "integer"].includes(field.dataset.kind) && field.value.trim() !== "" && isFinite(field.value);
      const truth = field.dataset.kind === "boolean" ? { True: true, False: false }[field.value] : undefined;
      transaction[field.dataset.feature] =
        field.value === "" ? null : truth !== undefined ? truth : number ? Number(field.value) : field.value;
    }
    curl.textContent = begin + "'" + JSON.stringify({ transaction }).replaceAll("'", "'\\''") + "'";
  }

  function prepare(root) {
    showTimes(root);
    draw(root);
    const slider = root.querySelector("#threshold");
    if (slider) showThreshold(slider);
  }
  document.body.addEventListener("htmx:afterSettle", (event) => prepare(event.target));
  document.body.addEventListener("htmx:sseMessage", (event) => prepare(event.target));
  // A hidden tab holds no connection: a browser opens six to one address at most.
  const sources = [];
  const typed = () => [...document.querySelectorAll("main input:not([type=hidden])")].some((each) => each.value !== each.defaultValue);
  htmx.createEventSource = (url) => {
    const source = new EventSource(url, { withCredentials: true });
    sources.push(source);
    return source;
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) sources.forEach((each) => each.close());
    else if (sources.length && !typed()) location.reload();
  });

  prepare(document);
  const again = document.querySelector("[data-again]");
  if (again) setTimeout(() => location.reload(), 1000 * Number(again.dataset.again));
})();
