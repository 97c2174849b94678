package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A danger is one thing that must never happen, and where it is tried: by the rows of some classes, and by tests that are named
// by their package's folder and their function.
type danger struct {
	area, what string
	classes    []string
	tests      []string
}

// dangers is what a reviewer asks for: each was a real vulnerability of a proxy that people trust.
func dangers() []danger {
	return []danger{
		{"HTTP/1 framing", "Transfer-Encoding on HTTP/1.0, bodies that the end of the connection delimits", []string{oldProtocol}, nil},
		{"HTTP/1 framing", "a tunnel before 101, or to who did not ask for one", []string{tunnels}, []string{"test/integration.TestUpgradeThatIsRefused", "test/integration.TestSwitchThatWasNotAskedFor"}},
		{"HTTP/1 framing", "an answer in front of an unread body, and the connection used again", []string{unreadBody}, []string{"test/integration.TestOwnAnswersWhileABodyIsUnread"}},
		{"HTTP/1 framing", "the grammar of chunks", []string{chunkGrammar, trailers}, []string{"dataplane/http1/codec.FuzzChunkDecoder"}},
		{"HTTP/1 framing", "chunk extensions that cost more than their data", []string{chunkBomb}, nil},
		{"HTTP/1 framing", "the grammar of Content-Length", []string{lengthGrammar}, nil},
		{"HTTP/1 framing", "Transfer-Encoding in disguise", []string{codingDisguise}, nil},
		{"HTTP/1 framing", "Content-Length and Transfer-Encoding", []string{lengthCoding}, nil},
		{"HTTP/1 framing", "the grammar of lines, hosts and targets", []string{lineSyntax, authority, sizes}, []string{"dataplane/http1/codec.FuzzParseRequest"}},
		{"HTTP/1 framing", "CONNECT and TRACE", []string{connect}, nil},
		{"HTTP/1 framing", "Expect, and final answers without 100", []string{expectation}, nil},
		{"HTTP/1 framing", "endpoints whose responses end elsewhere", []string{responseDesync, pipelines}, []string{"dataplane/http1/codec.FuzzParseResponse", "dataplane/http1.TestTornLooksTorn"}},
		{"HTTP/1 framing", "fields that Connection lists", []string{connectionList}, []string{"dataplane/proxy.TestStripRequest"}},
		{"HTTP/1 framing", "fields with which a client speaks for a proxy", []string{trust}, []string{"dataplane/proxy.TestForgedFields", "dataplane/exchange.TestListIsDocumented"}},
		{"HTTP/1 framing", "what is sent on is one message to every reader", []string{published}, []string{
			"test/conformance.TestReadersDisagree", "test/conformance.FuzzProxy", "dataplane/http1/codec.FuzzForwardedRequests", "dataplane/http1/codec.FuzzForwardedResponses",
		}},

		{"HTTP/2", "Rapid Reset, MadeYouReset; CONTINUATION, PING, SETTINGS and empty DATA without end", nil, []string{"test/conformance.TestFloods", "dataplane/http2.TestFloods", "dataplane/http2.TestResetStreamsStillCount"}},
		{"HTTP/2", "header bombs in front of a window that stays shut", nil, []string{"test/conformance.TestHeaderBombs", "dataplane/http2.TestHeadersOfAllStreamsTogether"}},
		{"HTTP/2", "Content-Length at the end of a stream", nil, []string{"test/conformance.TestHTTP2ToHTTP1", "dataplane/http2.TestBodiesOfAnotherLength"}},
		{"HTTP/2", "CR, LF and spaces in pseudo-headers, TE, Connection, Upgrade, Host ≠ :authority", nil, []string{"test/conformance.TestHTTP2ToHTTP1", "dataplane/http2.TestMalformedRequests"}},
		{"HTTP/2", "the protocol itself: 146 cases of h2spec", nil, []string{"test/conformance.TestH2spec"}},
		{"HTTP/2", "endpoints that break its rules", nil, []string{"dataplane/http2/client.TestConnectionsThatBreakTheRules", "dataplane/http2/client.TestMalformedHeads", "test/integration.TestHostileEndpointOverHTTP2"}},

		{"TLS", "options by SNI: wildcards, any case, a fragmented ClientHello", nil, []string{"dataplane.TestCertificatesByName", "dataplane.TestClientAuthOfFragmentedHello", "dataplane/listener.FuzzHello"}},
		{"TLS", "client certificates never fail open", nil, []string{"dataplane.TestClientAuth", "test/integration.TestClientAuthWithoutAuthority", "controllers/translate.TestClientAuthFailsClosed"}},
		{"TLS", "a missing or bad certificate closes its host alone", nil, []string{"test/integration.TestTLSWithoutCertificate", "controllers/translate.TestCertificateProblems"}},
		{"TLS", "resumption across a changed authority", nil, []string{"dataplane.TestClientAuthAfterReload", "dataplane.TestResumption", "dataplane/listener.TestTicketKeysRotate"}},
		{"TLS", "SNI ≠ Host across policies: 421", nil, []string{"dataplane.TestMisdirected", "dataplane.TestClientAuthOfAnotherHost"}},
		{"TLS", "handshakes that never end, and too many of them", nil, []string{"dataplane.TestHandshakeTimeout", "dataplane/listener.TestPendingHandshakesAreBounded", "dataplane.TestHandshakesThatStopHoldUpNobody"}},

		{"Routing, access and identity", "one path for match, access, rewrite and forward", []string{paths}, []string{
			"dataplane/exchange.FuzzNormalizePath", "dataplane/exchange.FuzzNormalizeKeepingSlashes", "test/integration.TestMergeSlashes", "test/integration.TestRewriteRegex",
		}},
		{"Routing, access and identity", "authentication never fails open", nil, []string{
			"test/integration.TestJWTFailsClosed", "dataplane/filter/forward.TestFailsClosed", "controllers.TestContentsFailClosed", "test/integration.TestSigningFailsClosed",
		}},
		{"Routing, access and identity", "JWT: pinned algorithms, foreign keys, sizes, times", nil, []string{"dataplane/filter/jwt.TestAlgorithms", "dataplane/filter/jwt.TestRefused", "dataplane/filter/jwt.FuzzToken"}},
		{"Routing, access and identity", "passwords and keys that can be told from the time they take", nil, []string{"dataplane/filter/basic.TestUnknownNamesCost", "dataplane/filter/basic.TestFlood"}},
		{"Routing, access and identity", "body limits hold for chunks too", nil, []string{"test/integration.TestBodyLimit", "dataplane/filter/bodylimit.TestUnknownLength"}},

		{"Kubernetes", "another namespace's Secrets and Services without a grant", nil, []string{"controllers/translate.TestServicesOfOtherNamespaces", "controllers.TestReferenceGrants", "controllers.TestSecretsAreNotShown"}},
		{"Kubernetes", "the proxy's own addresses, ports beyond the list", nil, []string{"controllers/translate.TestAddressesOfTheProcess", "controllers/translate.TestAllowedPorts"}},
		{"Kubernetes", "names and addresses that lead home", nil, []string{"controllers/translate.TestExternalNames", "controllers/translate.TestStaticAddresses", "controllers.TestNamesThatLeadHome"}},
		{"Kubernetes", "objects and statuses without measure", nil, []string{"controllers.TestLargeObject", "controllers/status.TestBoundsOfTheStatus"}},
		{"Kubernetes", "a bad object changes no other", nil, []string{"controllers.TestABadObjectChangesNoOther", "controllers/translate.TestBadRouteFailsAlone"}},

		{"Logs, memory, time", "log lines that are forged", nil, []string{"test/integration.TestAccessLogCannotBeForged", "dataplane/telemetry/accesslog.FuzzEncode"}},
		{"Logs, memory, time", "secrets that show", nil, []string{"test/integration.TestSecretsAppearNowhere", "controllers.TestSecretsAreNotShown", "dataplane/filter/jwt.TestLogsTellNoSecret"}},
		{"Logs, memory, time", "metric series without bound", nil, []string{"test/integration.TestMetricsStayBounded", "dataplane/telemetry.TestSeriesAreBounded"}},
		{"Logs, memory, time", "slow heads, bodies and readers; heads and extensions without end", nil, []string{
			"test/conformance.TestHostileClientsCostLittle", "test/integration.TestHeadsThatDoNotArrive", "test/integration.TestBodiesThatArriveTooSlowly", "test/integration.TestSlowReadersAreCutOff",
		}},
	}
}

// TestDangersAreTried checks that everything that dangers names exists, that every class of rows stands in one, and that every
// one names something.
func TestDangersAreTried(t *testing.T) {
	t.Parallel()
	count, _ := tallies()
	left := slices.Clone(classes)
	functions := map[string]string{}
	for _, l := range dangers() {
		if len(l.classes)+len(l.tests) == 0 {
			t.Errorf("%s: %s: nothing tries it", l.area, l.what)
		}
		for _, class := range l.classes {
			if count[class].cases == 0 {
				t.Errorf("%s: %s: the class %q has no case", l.area, l.what, class)
			}
			left = slices.DeleteFunc(left, func(c string) bool { return c == class })
		}
		for _, name := range l.tests {
			folder, function, _ := strings.Cut(name, ".")
			if functions[folder] == "" {
				functions[folder] = functionsOf(t, folder)
			}
			if !strings.Contains(functions[folder], "\nfunc "+function+"(") {
				t.Errorf("%s: %s: there is no %s", l.area, l.what, name)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("no danger has the classes %q", left)
	}
}

// functionsOf returns the test files of a folder of the module.
func functionsOf(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", folder, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

var update = flag.Bool("update", false, "write the tables of docs/conformance.md")

// table draws a block of docs/conformance.md.
func table(which string) string {
	var b strings.Builder
	switch which {
	case "cases":
		count, all := tallies()
		b.WriteString("| class | cases | of them over HTTP/2 too |\n|---|---:|---:|\n")
		for _, class := range classes {
			fmt.Fprintf(&b, "| %s | %d | %d |\n", class, count[class].cases, count[class].streamed)
		}
		fmt.Fprintf(&b, "| **together** | **%d** | **%d** |\n\n", all.cases, all.streamed)
		fmt.Fprintf(&b, "Beside them, %d requests that only HTTP/2 can carry.\n", len(streamRows()))
	case "dangers":
		b.WriteString("| what must never happen | tried by |\n|---|---|\n")
		area := ""
		for _, l := range dangers() {
			if l.area != area {
				area = l.area
				fmt.Fprintf(&b, "| **%s** | |\n", area)
			}
			var by []string
			for _, class := range l.classes {
				by = append(by, "rows: "+class)
			}
			for _, name := range l.tests {
				by = append(by, "`"+name+"`")
			}
			fmt.Fprintf(&b, "| %s | %s |\n", l.what, strings.Join(by, ", "))
		}
	}
	return b.String()
}

var block = regexp.MustCompile(`(?s)(<!-- (cases|dangers): written by go test \./test/conformance -run TestPage -update -->\n).*?(<!-- end -->)`)

// TestPage compares the tables of docs/conformance.md with what is tried.
func TestPage(t *testing.T) {
	t.Parallel()
	const path = "../../docs/conformance.md"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := block.FindAllSubmatch(have, -1)
	if len(blocks) != 2 {
		t.Fatalf("%s has %d tables", path, len(blocks))
	}
	want := block.ReplaceAllFunc(have, func(text []byte) []byte {
		parts := block.FindSubmatch(text)
		return []byte(string(parts[1]) + table(string(parts[2])) + string(parts[3]))
	})
	if string(want) == string(have) {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what is tried: go test ./test/conformance -run TestPage -update", path)
	}
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
}
