package conformance

import "fmt"

// pathRows are about the one form in which a path reaches an endpoint (RFC 3986 §6.2.2). What an endpoint could read as
// another path is refused.
func pathRows() (rows []row) {
	for _, c := range [][2]string{
		// Dot segments.
		{"/a/../b", "/b"},
		{"/a/b/../../c", "/c"},
		{"/a/./b", "/a/b"},
		{"/./a", "/a"},
		{"/a/..", "/"},
		{"/a/.", "/a/"},
		{"/a/b/..", "/a/"},
		{"/.", "/"},
		{"/a/../", "/"},
		{"/a/./././b", "/a/b"},
		{"/a//../b", "/b"},
		{"/...", "/..."},
		{"/.../a", "/.../a"},
		{"/.a", "/.a"},
		{"/a.", "/a."},
		{"/..a", "/..a"},
		{"/a..", "/a.."},
		{"/a/.b/..c", "/a/.b/..c"},
		// The same, escaped.
		{"/a/%2e%2e/b", "/b"},
		{"/a/%2E%2E/b", "/b"},
		{"/a/.%2e/b", "/b"},
		{"/a/%2e./b", "/b"},
		{"/a/%2e/b", "/a/b"},
		{"/a/b/%2e%2e", "/a/"},
		// Runs of slashes.
		{"//a", "/a"},
		{"/a//b", "/a/b"},
		{"///", "/"},
		{"/a///b////c/", "/a/b/c/"},
		{"//a.example/x", "/a.example/x"},
		{"/a/", "/a/"},
		// Escapes of unreserved characters are decoded, once; others are data, in upper case.
		{"/%61", "/a"},
		{"/%7Euser", "/~user"},
		{"/%2D%5F%2e%7e", "/-_.~"},
		{"/%41dmin", "/Admin"},
		{"/%2541", "/%2541"},
		{"/%252e%252e/a", "/%252e%252e/a"},
		{"/%25%32%65", "/%252e"},
		{"/a%2fb", "/a%2Fb"},
		{"/a%2Fb", "/a%2Fb"},
		{"/%2f%2fa", "/%2F%2Fa"},
		{"/a%5cb", "/a%5Cb"},
		{"/a%3fb", "/a%3Fb"},
		{"/a%23b", "/a%23b"},
		{"/a%20b", "/a%20b"},
		{"/a%0d%0ab", "/a%0D%0Ab"},
		{"/a%09b", "/a%09b"},
		{"/%c3%a9", "/%C3%A9"},
		{"/%c0%af", "/%C0%AF"},
		{"/%ff", "/%FF"},
		{"/a%3bb", "/a%3Bb"},
		{"/a%3db", "/a%3Db"},
		{"/a%26b", "/a%26b"},
		// What should have been escaped and means the same to everybody.
		{"/a|b", "/a%7Cb"},
		{"/{a}", "/%7Ba%7D"},
		{"/a\"b", "/a%22b"},
		{"/<a>", "/%3Ca%3E"},
		{"/a^b", "/a%5Eb"},
		{"/a`b", "/a%60b"},
		{"/[a]", "/%5Ba%5D"},
		// Parameters are part of their segment.
		{"/a;b=c/d", "/a;b=c/d"},
		{"/;a", "/;a"},
		{"/a;", "/a;"},
		{"/a/...;/b", "/a/...;/b"},
		{"/a;/../b", "/b"},
		{"/a,b=c&d+e!'()*:@$", "/a,b=c&d+e!'()*:@$"},
		// Case is kept.
		{"/A/b", "/A/b"},
		// Queries are not paths.
		{"/a?x=/../b", "/a?x=/../b"},
		{"/a?", "/a?"},
		{"/a?b?c", "/a?b?c"},
		{"/a/../b?/./c//d", "/b?/./c//d"},
		{"/?%2e%2e/%00", "/?%2e%2e/%00"},
		{"/a?x=http://u@b/", "/a?x=http://u@b/"},
	} {
		rows = append(rows, one(paths, fmt.Sprintf("%q", c[0]), get(c[0]), passes(received("GET "+c[1], ""))))
	}
	for _, path := range []string{
		// Above the root.
		"/..", "/../a", "/a/../..", "/a/../../b", "/%2e%2e/a", "/.%2e/a", "/./../a", "//../a", "/%2E%2E", "/a/b/../../../c",
		// Dot segments that only some endpoints see.
		"/a/..;/b", "/..;/a", "/a/.;/b", "/a/..;x=y/b", "/a/%2e%2e;/b", "/a/..%3b/b", "/a/..%3Bx/b", "/a/%2e%2e%3b/b", "/a;/..;/b",
		"/a/..%2fb", "/a/..%2Fb", "/a%2f..%2fb", "/a%2f../b", "/..%2fa", "/%2e%2e%2fa", "/%2e%2e%2Fa", "/a/%2f../b", "/a/%2f%2e%2e%2fb", "/a%2f.%2fb", "/a/..%5cb", "/a%5c..%5cb", "/%5c../a", "/..%5ca", "/%2e%2e%5ca",
		"/a/.%2f/b", "/a%5c.%5cb", "/a%5c%2e%2e/b",
		// Backslashes are slashes to some.
		"/a\\b", "/a\\..\\b", "\\", "/\\", "/\\a.example", "/a/..\\b",
		// NUL ends a path for some.
		"/%00", "/a%00", "/a%00.html", "/..%00/a", "/a%00/../b",
		// No escapes at all.
		"/%", "/a%", "/a%2", "/%zz", "/%2g", "/%u002e", "/%-1", "/a%%2e", "/%2 e",
	} {
		if path == "\\" || path == "/%2 e" {
			rows = append(rows, one(paths, fmt.Sprintf("%q", path), get(path), refused("400")))
			continue
		}
		rows = append(rows, one(paths, fmt.Sprintf("%q", path), get(path), local("400", either)))
	}
	return rows
}
