// Set up before require.js loads: widgets work on the static page, without a network.
(function () {
  "use strict";

  // 1. Where require.js finds the widget libraries: beside this script.
  var here = document.currentScript.src.replace(/widgets-env\.js.*$/, "");
  var vendor = here + "vendor/";
  window.require = {
    paths: {
      anywidget: vendor + "anywidget/index",
      "@jupyter-widgets/html-manager/dist": vendor + "html-manager",
      "@jupyter-widgets": vendor,
    },
  };

  // 2. The theme's Font Awesome replaces <i> elements by pictures. The buttons of
  //    ipywidgets' Play need theirs.
  window.FontAwesomeConfig = { observeMutations: false };

  // 3. Sliders of ipywidgets have a label beside them that no screen reader connects.
  new MutationObserver(function () {
    var handles = document.querySelectorAll(".noUi-handle:not([aria-label])");
    handles.forEach(function (handle) {
      var box = handle.closest(".jupyter-widgets");
      var label = box && box.querySelector(".widget-label");
      handle.setAttribute("aria-label", (label && label.textContent) || "slider");
    });
    document.querySelectorAll(".widget-play button:not([aria-label])").forEach(
      function (button) {
        button.setAttribute("aria-label", button.title || "play or stop");
      }
    );
  }).observe(document.documentElement, { childList: true, subtree: true });

  // 4. The widget manager still asks MathJax 2 to typeset; pass it on to MathJax 3.
  document.addEventListener("DOMContentLoaded", function () {
    window.MathJax = window.MathJax || {};
    if (!window.MathJax.Hub) {
      window.MathJax.Hub = {
        Queue: function (call) {
          var node = call && call[2];
          if (node && window.MathJax.typesetPromise) {
            window.MathJax.typesetPromise([node]);
          }
        },
      };
    }
  });
})();
