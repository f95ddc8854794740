"""The style sheet of the status page: light and dark, from a wide screen to a phone. Pure."""

STYLE = """
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#16191d;--faint:#626b76;--line:#e3e6ea;
--good:#0f7a3d;--good-ground:#e2f5e9;--bad:#b3261e;--bad-ground:#fdeceb;--link:#1f5fbf}
@media (prefers-color-scheme:dark){:root{--ground:#101317;--card:#181c22;--ink:#e8ebef;--faint:#98a2ae;--line:#2a3038;
--good:#5fd08d;--good-ground:#12301f;--bad:#ff8a80;--bad-ground:#3a1a18;--link:#86b6ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1.5rem;background:var(--ground);color:var(--ink);
font:1rem/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
header{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;gap:.5rem 1rem;
margin-bottom:1.25rem}
h1{margin:0;font-size:1.5rem;letter-spacing:-.01em}
h2{margin:0 0 .5rem;font-size:1rem}
small{display:block;color:var(--faint);font-size:.8125rem;font-weight:400;line-height:1.45;overflow-wrap:anywhere}
.badge{margin:0;padding:.25rem .85rem;border-radius:99px;font-weight:600}
.badge.good{background:var(--good-ground)}.badge.bad{background:var(--bad-ground)}
.good{color:var(--good)}.bad{color:var(--bad)}.faint{color:var(--faint)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.75rem;margin:0 0 1.5rem}
.facts div,.problems,table{background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.facts div{padding:.75rem 1rem;color:inherit}
.facts .bad small{color:var(--bad)}
dt{color:var(--faint);font-size:.8125rem}
dd{margin:0;font-size:1.25rem;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.path dd{font-size:1rem;line-height:1.8}
.problems{margin-bottom:1rem;padding:.75rem 1rem;border-color:var(--bad);background:var(--bad-ground)}
.problems ul{margin:0;padding-left:1.1rem;overflow-wrap:anywhere}
table{width:100%;border-spacing:0;overflow:hidden;font-variant-numeric:tabular-nums}
th,td{padding:.6rem 1rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--faint);font-size:.8125rem;font-weight:500}
footer{margin-top:1.25rem;color:var(--faint);font-size:.8125rem}
a{color:var(--link)}
@media (max-width:40rem){
body{padding:1rem}
table,tbody,tr,th,td{display:block}
thead{display:none}
tr+tr{border-top:1px solid var(--line)}
tr{padding:.6rem 0}
th,td{border:0;padding:.15rem 1rem}
td{display:grid;grid-template-columns:6rem 1fr}
td::before{content:attr(data-name);grid-row:1/span 2;color:var(--faint);font-size:.8125rem}
td small{grid-column:2}
}
"""
