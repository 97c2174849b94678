package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"strings"
)

// The parts of the page. They are files of their own so that editors know what they are.
var (
	//go:embed page.html
	document string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

// A Page is what a browser gets.
type Page struct {
	HTML   []byte
	Policy string // the Content-Security-Policy that the page must be sent with
}

// New puts the page together.
func New() Page {
	html := strings.Replace(document, "<style></style>", "<style>"+style+"</style>", 1)
	html = strings.Replace(html, "<script></script>", "<script>"+script+"</script>", 1)
	return Page{HTML: []byte(html), Policy: strings.Join([]string{
		"default-src 'none'",
		"style-src " + hash(style),
		"script-src " + hash(script),
		"connect-src 'self'",
		"img-src data:", // the icon, which is none
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
		"require-trusted-types-for 'script'",
		"trusted-types 'none'",
	}, "; ")}
}

// hash is how a policy names what may stand in an element (CSP level 3, §2.3.1).
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
