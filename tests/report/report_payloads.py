"""Strings that break out of careless pages: markup, attributes, styles, templates, mathtext, formulas, odd Unicode."""

_WAYS_OUT = (
    "",
    '">',
    "'>",
    "</td></table>",
    "</text></svg>",
    "</title>",
    "</style>",
    "</script>",
    "-->",
    "]]>",
    "`}",
    "\\",
)
"""What ends the place that a string stands in: an attribute, a cell, a drawing, a style, a script, a comment, a section."""
_MARKUP = (
    "<script src=//evil.invalid/1.js></script>", "<img/src=//evil.invalid/2.png onerror=alert(2)>", "<svg/onload=alert(3)>",
    "<svg><animate onbegin=alert(4) attributeName=x dur=1s>", "<svg><use href='data:image/svg+xml,<svg onload=alert(5)>'/></svg>",
    "<iframe srcdoc='<script>alert(6)</script>'></iframe>", "<input autofocus onfocus=alert(7)>", "<embed src=//evil.invalid/8>",
    "<style>*{background:url(//evil.invalid/9)}</style>", "<ScRiPt>alert(10)</sCrIpT>", "<a href='data:text/html,<script>alert(11)</script>'>x</a>",
)  # fmt: skip
PAYLOADS = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    '"><img src=http://evil.invalid/a.png>', "'><svg onload=alert(1)>", "<svg><script href='//evil.invalid/x.js'/></svg>",
    "</title><script>alert(1)</script>", "</style><style>@import url(http://evil.invalid/a.css)</style>",
    "</svg><img src=http://evil.invalid/b.png>", "<iframe src=http://evil.invalid/></iframe>",
    "<link rel=stylesheet href=http://evil.invalid/c.css>", "<meta http-equiv=refresh content='0;url=http://evil.invalid/'>",
    "<base href=http://evil.invalid/>", "<form action=http://evil.invalid/><input name=q></form>",
    "<object data=http://evil.invalid/o></object>", "<video src=http://evil.invalid/v autoplay></video>",
    "<details open ontoggle=alert(1)>", "<body onload=alert(1)>", "<a href=javascript:alert(1)>x</a>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>", "<!--", "-->", "<![CDATA[", "]]>", "<?xml version='1.0'?>",
    "<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>&x;", "&lt;script&gt;alert(1)&lt;/script&gt;", "&#60;b&#62;", "&quot;",
    '" onmouseover="alert(1)', "' onfocus='alert(1)' autofocus='", '" style="background:url(http://evil.invalid/d)"', "`-alert(1)-`",
    "{{ 7 * 7 }}", "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}", "${7*7}", "#{7*7}", "{0.__class__}",
    "$_$", "$\\frac{1}{0}$", "$x^2$ and $", r"\$100", r"\input{/etc/passwd}", "%s%n%x", "\\N{BULLET}",
    "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "＝1+1", '=HYPERLINK("http://evil.invalid","x")',
    "a\nb", "a\r\nb", "tab\there", "nul\x00byte", "bell\x07", "esc\x1b[31mred", "\u202egnp.exe", "\u2066x\u2069", "\ufeffbom", "\u2028line",
    "zalgo z̸̢͝", "emoji 🧪👩‍🔬", "日本語", "עברית", "العربية", "ﷺ" * 8, "x" * 400, "very " * 80, " ", "..", "../../etc/passwd", "C:\\nul",
    "http://user:hunter2hunter2@evil.invalid/", "postgres://u:hunter2hunter2@h/db?password=hunter2hunter2", "NaN", "null", "None", "-0", "1e309",
    *(way + markup for way in _WAYS_OUT for markup in _MARKUP),
)  # fmt: skip
