// Dark or light before the first paint: what the person chose, else what the system says.
(function () {
  "use strict";
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
