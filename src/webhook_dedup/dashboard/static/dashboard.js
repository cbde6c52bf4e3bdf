"use strict";

// Without this script every page works; with it times stay true and the live view goes on.

const MOST_ROWS = 200;
const PATIENCE = 4000; // milliseconds

function rough(seconds) {
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.round(seconds / length)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

function since(moment) {
  const seconds = (Date.now() - moment) / 1000;
  if (seconds < -1) return `in ${rough(-seconds)}`;
  return seconds < 1 ? "now" : `${rough(seconds)} ago`;
}

function tellTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = Date.parse(time.dateTime);
    if (!Number.isNaN(moment)) time.textContent = since(moment);
  }
}

class Live {
  constructor(table) {
    this.body = table.tBodies[0];
    this.status = document.getElementById("status");
    this.button = document.getElementById("pause");
    this.waiting = [];
    this.paused = false;
    this.button.hidden = false;
    this.button.addEventListener("click", () => this.pause(!this.paused));
    this.source = new EventSource(table.dataset.stream);
    this.source.addEventListener("open", () => this.found());
    this.source.addEventListener("error", () => this.lost());
    this.source.addEventListener("entry", (event) => this.take(event.data));
  }

  tell(state, words) {
    this.state = state;
    this.status.className = `status ${state}`;
    this.status.textContent = words;
  }

  found() {
    clearTimeout(this.losing);
    this.losing = undefined;
    if (!this.paused) this.tell("live", "live");
  }

  lost() {
    if (this.source.readyState === EventSource.CLOSED) {
      this.tell("away", "not live: reload the page to try again");
      return;
    }
    // Now and then the server has the browser come again, which nobody needs to know.
    this.losing ??= setTimeout(() => this.tell("away", "connection lost, trying again"), PATIENCE);
  }

  take(row) {
    if (this.paused) {
      this.waiting = [row, ...this.waiting].slice(0, MOST_ROWS);
      this.tell("paused", `paused, ${this.waiting.length} more`);
    } else {
      this.show([row]);
    }
  }

  show(rows) {
    document.getElementById("empty")?.remove();
    for (const row of rows) {
      // Rows are made by the server, which escapes whatever a sender wrote.
      const template = document.createElement("template");
      template.innerHTML = row;
      const { id } = template.content.firstElementChild.dataset;
      if (this.body.querySelector(`tr[data-id="${id}"]`)) continue;
      tellTimes(template.content);
      this.body.prepend(template.content);
    }
    while (this.body.rows.length > MOST_ROWS) this.body.lastElementChild.remove();
  }

  pause(on) {
    this.paused = on;
    this.button.setAttribute("aria-pressed", String(on));
    this.button.textContent = on ? "Go on" : "Pause";
    this.tell(on ? "paused" : "live", on ? "paused" : "live");
    this.show(this.waiting.reverse());
    this.waiting = [];
  }
}

tellTimes();
setInterval(tellTimes, 5000);
const table = document.querySelector("table[data-stream]");
if (table) new Live(table);
