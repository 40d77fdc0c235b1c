// Takes the one-time token from the address after `#`, which no server and no log gets, and sends it in a form.
(function () {
  "use strict";
  const form = document.getElementById("form");
  const token = location.hash.slice(1);
  if (token) {
    history.replaceState(null, "", location.pathname + location.search);
    form.elements.token.value = token;
    form.submit();
    return;
  }
  // A link from another site comes without the cookie; a request of this page brings it.
  fetch("/session", { credentials: "same-origin" })
    .then((answer) => answer.json())
    .then((found) => {
      if (found.signed_in) location.replace(form.elements.next.value);
    });
})();
