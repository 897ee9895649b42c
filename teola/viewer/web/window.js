// The part of the time axis that is shown; all lanes follow it.

const shown = { from: 0, to: wholeS };
const whenMoved = [];
const NARROWEST = 1e-5;

function show(from, to) {
  const width = Math.min(wholeS, Math.max(NARROWEST, to - from));
  shown.from = Math.max(0, Math.min(from, wholeS - width));
  shown.to = shown.from + width;
  whenMoved.forEach((tell) => tell());
}

const fit = () => show(0, wholeS);

function zoom(factor, middle = (shown.from + shown.to) / 2) {
  const width = (shown.to - shown.from) / factor;
  const share = (middle - shown.from) / (shown.to - shown.from);
  show(middle - share * width, middle + (1 - share) * width);
}

const pan = (share) => {
  const by = share * (shown.to - shown.from);
  show(shown.from + by, shown.to + by);
};

const shareOf = (time_s) => (time_s - shown.from) / (shown.to - shown.from);
const asPercent = (share) => `${Math.max(-1, Math.min(2, share)) * 100}%`;

function ticks(maxTicks) {
  const rough = (shown.to - shown.from) / maxTicks;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((each) => each >= rough);
  const first = Math.ceil(shown.from / step - 1e-9);
  const last = Math.floor(shown.to / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, n) => [(first + n) * step, step]);
}

function tickText(time_s, step) {
  const [factor, unit] = step >= 0.1 || time_s >= 10 ? [1, "s"] : [1000, "ms"];
  const digits = Math.max(0, -Math.floor(Math.log10(step * factor) + 1e-9));
  return `${(time_s * factor).toFixed(digits)} ${unit}`;
}
