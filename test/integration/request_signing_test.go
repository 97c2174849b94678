package integration_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// The keys of the tests.
const (
	firstSigningKey  = "0123456789abcdef0123456789abcdef-1" // gitleaks:allow
	secondSigningKey = "0123456789abcdef0123456789abcdef-2" // gitleaks:allow
)

// verifier is the endpoint of docs/request-signing.md, built from the very text of that page.
var verifier = sync.OnceValues(func() (string, error) {
	page, err := os.ReadFile("../../docs/request-signing.md")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(page), "```go\n")
	program, _, _ := strings.Cut(rest, "```")
	dir, err := os.MkdirTemp("", "verifier") // one for all tests
	if err != nil {
		return "", err
	}
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "verify")
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return binary, nil
})

// startVerifier runs it, with these keys by their ids, and returns its address.
func startVerifier(t *testing.T, keys map[string]string) string {
	t.Helper()
	binary, err := verifier()
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	args := []string{address}
	for id, key := range keys {
		path := filepath.Join(t.TempDir(), id)
		if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, id+"="+path)
	}
	cmd := exec.Command(binary, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	harness.Eventually(t, "the verifier listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// TestRequestSigning: the endpoint of the documentation takes what came through the proxy, and nothing else.
func TestRequestSigning(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		endpoint := startVerifier(t, map[string]string{"one": firstSigningKey, "two": secondSigningKey})
		c.Write(t, "sign", firstSigningKey+"\n")
		service := `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['` + endpoint + `']
    health_path: 'off'
    request_signing: {algorithm: HMACSHA256, key_ref: {file: '${dir}/sign'}, key_id: KEYID}
    routes:
      - name: api
        matches: [{path: {value: /api}}]
        filters: [{rewrite: {replace_prefix: /v2, host: Inner.Example}}]
      - name: upload
        matches: [{path: {value: /upload}}]
        filters: [{buffer: {}}]
`
		c.Serve(t, strings.Replace(service, "KEYID", "one", 1))
		const url = "http://shop.example:8080"
		verified := func(what string, r *matrix.Response) {
			t.Helper()
			if r.Status != 200 || r.Body != "verified\n" {
				t.Errorf("%s: %d %s", what, r.Status, r.Body)
			}
		}
		verified("plain", c.Get(t, url+"/"))
		verified("query", c.Get(t, url+"/a%2fb//c?x=1&y=%7e&z"))
		verified("an empty query", c.Get(t, url+"/?"))
		verified("rewritten", c.Get(t, url+"/api/users/42?q"))
		verified("another method", c.Do(t, "DELETE", url+"/", ""))
		verified("signatures of the client", c.Get(t, url+"/", `Signature-Input: pingora-proxy=("@method");created=1;keyid="one"`, "Signature: pingora-proxy=:AAAA:", "Signature: x=:AAAA:"))
		verified("a body in memory", c.Do(t, "POST", url+"/upload", `{"hello": "world"}`))
		verified("a body that the client vouches for", c.Do(t, "PUT", url+"/", `{"hello": "world"}`, "Content-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"))
		if r := c.Do(t, "PUT", url+"/upload", `{"hello": "moon"}`, "Content-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"); r.Status != 401 || !strings.Contains(r.Body, "another") {
			t.Errorf("another body than the client vouches for: %d %s", r.Status, r.Body)
		}

		direct, err := http.Get("http://" + endpoint + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = direct.Body.Close()
		if direct.StatusCode != http.StatusUnauthorized {
			t.Errorf("past the proxy: %d", direct.StatusCode)
		}

		// The key is changed while requests come; endpoints know both.
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			client := c.Client(t, nil)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := c.Try(client, matrix.Request(t, "GET", url+"/", "")); err != nil || r.Status != 200 {
					t.Errorf("while the key changes: %v, %+v", err, r)
					return
				}
			}
		}()
		c.Write(t, "sign2", secondSigningKey)
		c.Serve(t, strings.NewReplacer("KEYID", "two", "/sign'", "/sign2'").Replace(service))
		close(stop)
		<-done
		verified("with the new key", c.Get(t, url+"/"))
	})
}

// TestSigningEd25519: endpoints need the public key alone.
func TestSigningEd25519(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Write(t, "sign", key)
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    request_signing: {algorithm: Ed25519, key_ref: {file: '${dir}/sign'}, key_id: edge, components: ['@method', '@target-uri', x-b, x-none]}
`)
		r := harness.ParseEchoed(t, c.Get(t, "http://Shop.example:8080/a?b", "X-B: 1", "X-B: 2").Body)
		input := r.Header.Get("Signature-Input")
		m := regexp.MustCompile(`^pingora-proxy=(\("@method" "@target-uri" "x-b"\);created=\d+;keyid="edge";alg="ed25519")$`).FindStringSubmatch(input)
		if m == nil {
			t.Fatalf("Signature-Input: %s", input)
		}
		base := "\"@method\": GET\n\"@target-uri\": http://shop.example:8080/a?b\n\"x-b\": 1, 2\n\"@signature-params\": " + m[1]
		text, _ := strings.CutPrefix(r.Header.Get("Signature"), "pingora-proxy=:")
		signature, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, ":"))
		if err != nil || !ed25519.Verify(public, []byte(base), signature) {
			t.Errorf("%s does not sign\n%s", r.Header.Get("Signature"), base)
		}
	})
}

// TestSigningFailsClosed: without a key that can be used no request leaves, and nobody learns anything of the key.
func TestSigningFailsClosed(t *testing.T) {
	t.Parallel()
	const short = "canary-too-short" // gitleaks:allow
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Write(t, "sign", short)
		c.Refused(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    request_signing: {algorithm: HMACSHA256, key_ref: {file: '${dir}/sign'}, key_id: edge}
`, "HMACSHA256 needs 32 or more")
		if c.Proxy != nil && strings.Contains(c.Proxy.LogText()+c.Proxy.AccessLogText(), short) {
			t.Error("the key is in the log")
		}
	})
}
