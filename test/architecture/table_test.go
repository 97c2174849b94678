package architecture

import (
	"path"
	"strings"
)

const module = "github.com/pingora-proxy/pingora-proxy"

// A row says what the non-test files of one package may import besides the standard library.
type row struct {
	// imports are packages of this module, relative to it. "dir/*" are all packages right below dir.
	imports []string
	// libraries are import paths of other modules; what lies below one is included.
	libraries []string
}

// Libraries that more than one row names. A library is pinned to the packages that need it: the list of each row is
// short, and a new entry is a decision.
const (
	apimachinery = "k8s.io/apimachinery"
	logr         = "github.com/go-logr/logr"
	sysUnix      = "golang.org/x/sys/unix"
	k8sAPI       = "k8s.io/api"
	clientGo     = "k8s.io/client-go"

	controllerRuntime = "sigs.k8s.io/controller-runtime"
)

// table is the map of the house. A package that is not in it fails the test: a new package gets a row first.
var table = map[string]row{
	"api/optional": {},
	"api/syntax":   {},
	"api/v1alpha1": {imports: []string{"api/syntax"}, libraries: []string{apimachinery}},
	"api/settings": {imports: []string{"api/v1alpha1"}, libraries: []string{apimachinery}},
	"api/defaults": {imports: []string{"api/settings", "api/v1alpha1"}},
	"api/validation": {
		imports:   []string{"api/settings", "api/syntax", "api/v1alpha1"},
		libraries: []string{apimachinery},
	},
	"api/v1alpha1/gen": {imports: []string{"api/defaults", "api/settings", "api/syntax", "api/v1alpha1"}},

	"cmd/pingora-proxy/memory":  {libraries: []string{logr}},
	"cmd/pingora-proxy/pidfile": {},
	"cmd/pingora-proxy/succession": {
		imports:   []string{"dataplane", "dataplane/listener", "dataplane/listener/handover"},
		libraries: []string{logr, "github.com/spf13/pflag"},
	},
	"cmd/pingora-proxy/systemd": {imports: []string{"dataplane/listener"}, libraries: []string{logr, sysUnix}},
	"controllers": {
		imports: []string{
			"api/defaults", "api/settings", "api/syntax", "api/v1alpha1", "api/validation", "controllers/translate", "controllers/translate/material", "controllers/translate/realm", "controllers/contents", "controllers/endpoints", "controllers/lastgood", "controllers/publish",
			"controllers/replica", "controllers/status", "dataplane/snapshot",
		},
		libraries: []string{apimachinery, logr, k8sAPI, clientGo, controllerRuntime},
	},
	"controllers/contents": {
		imports:   []string{"api/v1alpha1", "controllers/translate", "controllers/translate/material", "controllers/translate/realm"},
		libraries: []string{apimachinery, k8sAPI, controllerRuntime},
	},
	"controllers/endpoints": {
		imports:   []string{"api/optional", "controllers/translate/realm", "dataplane/snapshot"},
		libraries: []string{apimachinery, k8sAPI},
	},
	"controllers/lastgood": {libraries: []string{logr, sysUnix}},
	"controllers/publish": {
		libraries: []string{apimachinery, logr, k8sAPI, clientGo, controllerRuntime},
	},
	"controllers/replica": {
		libraries: []string{apimachinery, logr, k8sAPI, clientGo},
	},
	"controllers/status": {
		imports:   []string{"api/v1alpha1", "controllers/translate"},
		libraries: []string{apimachinery, logr, k8sAPI, clientGo, controllerRuntime},
	},
	"controllers/standalone": {
		imports: []string{
			"api/defaults", "api/optional", "api/settings", "api/syntax", "api/v1alpha1", "api/validation", "controllers/standalone/certificates", "controllers/standalone/files", "controllers/standalone/shape", "controllers/standalone/tree",
			"controllers/translate", "controllers/translate/material",
			"dataplane/snapshot",
		},
		libraries: []string{apimachinery, logr, "github.com/goccy/go-yaml"},
	},
	"controllers/standalone/certificates": {
		imports:   []string{"controllers/standalone/files", "controllers/translate/material"},
		libraries: []string{logr},
	},
	"controllers/standalone/shape": {imports: []string{"api/syntax", "api/v1alpha1"}},
	"controllers/standalone/tree":  {libraries: []string{"github.com/goccy/go-yaml"}},
	"controllers/standalone/convert": {
		imports:   []string{"api/defaults", "api/settings", "api/syntax", "api/v1alpha1", "api/validation", "controllers/standalone"},
		libraries: []string{apimachinery},
	},
	"controllers/standalone/files": {libraries: []string{logr, "github.com/fsnotify/fsnotify"}},
	"controllers/translate": {
		imports:   []string{"api/defaults", "api/optional", "api/settings", "api/syntax", "api/v1alpha1", "controllers/translate/*", "dataplane/snapshot", "dataplane/filter"},
		libraries: []string{apimachinery},
	},
	"controllers/translate/claims":   {imports: []string{"dataplane/snapshot"}},
	"controllers/translate/material": {},
	"controllers/translate/parts":    {imports: []string{"api/optional", "api/settings", "api/v1alpha1", "dataplane/snapshot"}},
	"controllers/translate/realm": {
		imports:   []string{"api/optional", "api/syntax", "api/v1alpha1", "dataplane/snapshot"},
		libraries: []string{apimachinery},
	},
	"controllers/translate/filters": {
		imports: []string{"api/optional", "api/v1alpha1", "dataplane/snapshot", "dataplane/filter", "dataplane/filter/*"},
	},

	"charts/gen": {libraries: []string{"github.com/goccy/go-yaml"}},

	"dataplane": {
		imports:   []string{"dataplane/*", "dataplane/telemetry/accesslog", "dataplane/telemetry/trace"},
		libraries: []string{logr},
	},
	"dataplane/exchange": {},
	"dataplane/telemetry": {
		imports: []string{"dataplane/exchange"},
		libraries: []string{
			logr, "github.com/go-logr/zapr", "go.uber.org/zap", "github.com/prometheus/client_golang", "github.com/prometheus/common/expfmt",
			"github.com/prometheus/client_model/go", "google.golang.org/protobuf",
		},
	},
	"dataplane/telemetry/accesslog": {
		imports:   []string{"dataplane/exchange", "dataplane/telemetry"},
		libraries: []string{logr},
	},
	"dataplane/telemetry/trace": {
		imports:   []string{"dataplane/exchange"},
		libraries: []string{logr, "go.opentelemetry.io/otel", "google.golang.org/grpc/credentials"},
	},
	"dataplane/fetcher": {},
	"dataplane/filter": {
		imports:   []string{"dataplane/exchange", "dataplane/telemetry"},
		libraries: []string{logr},
	},
	"dataplane/filter/*": {
		imports:   []string{"dataplane/filter", "dataplane/exchange", "dataplane/telemetry"},
		libraries: []string{logr},
	},
	"dataplane/filter/access": {
		imports:   []string{"dataplane/filter", "dataplane/exchange", "dataplane/telemetry"},
		libraries: []string{logr, "github.com/gaissmai/bart"},
	},
	"dataplane/filter/jwt": {
		imports:   []string{"dataplane/filter", "dataplane/exchange"},
		libraries: []string{logr, "github.com/lestrrat-go/jwx/v3/jwa", "github.com/lestrrat-go/jwx/v3/jwk", "github.com/lestrrat-go/jwx/v3/jws"},
	},
	"dataplane/filter/compress": {
		imports: []string{"dataplane/filter", "dataplane/exchange"},
		libraries: []string{
			"github.com/andybalholm/brotli", "github.com/klauspost/compress/gzip", "github.com/klauspost/compress/zstd",
		},
	},
	"dataplane/filter/basic": {
		imports:   []string{"dataplane/filter", "dataplane/exchange"},
		libraries: []string{"golang.org/x/crypto/argon2", "golang.org/x/crypto/bcrypt"},
	},
	"dataplane/snapshot": {imports: []string{"dataplane/filter"}},
	"dataplane/http1": {
		imports:   []string{"dataplane/exchange", "dataplane/http1/codec", "dataplane/http1/loop", "dataplane/http1/wire"},
		libraries: []string{logr},
	},
	"dataplane/http1/codec": {imports: []string{"dataplane/exchange"}},
	"dataplane/http1/wire": {
		imports:   []string{"dataplane/exchange", "dataplane/http1/codec"},
		libraries: []string{sysUnix},
	},
	"dataplane/http1/loop": {
		imports:   []string{"dataplane/exchange", "dataplane/http1/wire"},
		libraries: []string{sysUnix},
	},
	"dataplane/http1/client": {
		imports: []string{"dataplane/exchange", "dataplane/http1/codec", "dataplane/http1/wire"},
	},
	"dataplane/http2": {
		imports: []string{
			"dataplane/exchange", "dataplane/http1/codec", "dataplane/http1/wire", "dataplane/http2/inbox", "dataplane/http2/tunnel",
			"dataplane/http2/wire",
		},
		libraries: []string{logr, "golang.org/x/net/http2"},
	},
	"dataplane/http2/inbox":  {imports: []string{"dataplane/exchange", "dataplane/http1/wire", "dataplane/http2/wire"}},
	"dataplane/http2/tunnel": {imports: []string{"dataplane/exchange", "dataplane/http1/wire"}},
	"dataplane/http2/wire": {
		imports:   []string{"dataplane/exchange", "dataplane/http1/codec", "dataplane/http1/wire"},
		libraries: []string{"golang.org/x/net/http2"},
	},
	"dataplane/http2/client": {
		imports: []string{
			"dataplane/exchange", "dataplane/http1/codec", "dataplane/http1/wire", "dataplane/http2/client/*", "dataplane/http2/pool",
			"dataplane/http2/wire",
		},
		libraries: []string{"golang.org/x/net/http2"},
	},
	"dataplane/http2/client/chunks": {},
	"dataplane/http2/client/output": {
		imports:   []string{"dataplane/exchange", "dataplane/http1/wire"},
		libraries: []string{"golang.org/x/net/http2"},
	},
	"dataplane/http2/pool": {imports: []string{"dataplane/exchange", "dataplane/http1/wire"}},
	"dataplane/congestion": {libraries: []string{sysUnix}},
	"dataplane/listener": {
		imports:   []string{"dataplane/http1/wire", "dataplane/listener/door", "dataplane/snapshot", "dataplane/telemetry"},
		libraries: []string{logr, sysUnix, "github.com/pires/go-proxyproto"},
	},
	"dataplane/listener/door":     {imports: []string{"dataplane/congestion", "dataplane/http1/wire"}, libraries: []string{logr, sysUnix}},
	"dataplane/listener/handover": {imports: []string{"dataplane/listener"}, libraries: []string{logr, sysUnix}},
	"dataplane/resolver": {
		imports:   []string{"dataplane/telemetry"},
		libraries: []string{logr, "golang.org/x/net/dns/dnsmessage"},
	},
	"dataplane/upstream": {
		imports: []string{
			"dataplane/snapshot", "dataplane/exchange", "dataplane/http1/client", "dataplane/http1/codec", "dataplane/http1/loop",
			"dataplane/http1/wire", "dataplane/http2/client", "dataplane/telemetry", "dataplane/upstream/balance",
			"dataplane/upstream/breaker", "dataplane/upstream/dial", "dataplane/upstream/digest",
		},
		libraries: []string{logr, sysUnix},
	},
	"dataplane/upstream/affinity": {imports: []string{"dataplane/exchange"}},
	"dataplane/upstream/balance": {
		imports:   []string{"dataplane/snapshot", "dataplane/exchange"},
		libraries: []string{"github.com/cespare/xxhash/v2"},
	},
	"dataplane/upstream/breaker": {imports: []string{"dataplane/exchange"}},
	"dataplane/upstream/budget":  {imports: []string{"dataplane/exchange"}},
	"dataplane/upstream/group": {
		imports: []string{
			"dataplane/snapshot", "dataplane/exchange", "dataplane/upstream", "dataplane/upstream/affinity", "dataplane/upstream/balance",
			"dataplane/upstream/budget",
		},
	},
	"dataplane/upstream/digest": {},
	"dataplane/upstream/dial": {
		imports:   []string{"dataplane/congestion", "dataplane/snapshot", "dataplane/exchange", "dataplane/http1/wire"},
		libraries: []string{"github.com/pires/go-proxyproto"},
	},
	"dataplane/expiry": {
		imports:   []string{"dataplane/listener", "dataplane/snapshot", "dataplane/telemetry"},
		libraries: []string{logr},
	},
	"dataplane/health": {
		imports:   []string{"dataplane/upstream", "dataplane/exchange", "dataplane/telemetry"},
		libraries: []string{logr},
	},
	"dataplane/tcp": {
		// The exchange, because a connection's line in the access log is one; a filter, because access is one.
		imports: []string{
			"dataplane/snapshot", "dataplane/upstream", "dataplane/upstream/group", "dataplane/telemetry", "dataplane/telemetry/accesslog", "dataplane/exchange",
			"dataplane/filter", "dataplane/http1/wire",
		},
		libraries: []string{logr},
	},
	"dataplane/store": {
		imports:   []string{"dataplane/snapshot", "dataplane/filter", "dataplane/telemetry"},
		libraries: []string{logr, "github.com/redis/go-redis/v9"},
	},
	"dataplane/router": {
		// The exchange, because the table matches a request where it lies, without copying its parts.
		imports: []string{
			"dataplane/snapshot", "dataplane/filter", "dataplane/upstream/group", "dataplane/exchange", "dataplane/telemetry",
		},
		libraries: []string{logr},
	},
	"dataplane/proxy": {
		// The snapshot, because a route's time-outs and retries are the snapshot's and have no live side.
		imports: []string{
			"dataplane/exchange", "dataplane/router", "dataplane/snapshot", "dataplane/upstream", "dataplane/upstream/group",
			"dataplane/filter", "dataplane/telemetry", "dataplane/telemetry/accesslog", "dataplane/telemetry/trace",
		},
		libraries: []string{logr},
	},
	"dataplane/admin": {
		// The filters, because it shows which ones a route has; the exchange, because it asks the router about one.
		imports: []string{
			"dataplane/exchange",
			"dataplane/snapshot", "dataplane/router", "dataplane/upstream", "dataplane/listener", "dataplane/filter",
			"dataplane/telemetry", "dataplane/admin/outline", "dataplane/admin/page",
		},
		libraries: []string{logr},
	},
	"dataplane/admin/outline": {imports: []string{"dataplane/snapshot"}},
	"dataplane/admin/page":    {},
}

// free says that a package may import everything: the wiring, the development tools and the tests around the program.
func free(name string) bool {
	return name == "cmd/pingora-proxy" || name == "cmd/pingora-proxy/inspect" || strings.HasPrefix(name, "hack/") || strings.HasPrefix(name, "test/")
}

// rowOf finds the row of a package: its own, else that of its siblings.
func rowOf(name string) (row, bool) {
	if r, ok := table[name]; ok {
		return r, true
	}
	r, ok := table[path.Dir(name)+"/*"]
	return r, ok
}

// allows reports whether the row allows an import path that is not of the standard library.
func (r row) allows(importPath string) bool {
	if inner, ok := strings.CutPrefix(importPath, module+"/"); ok {
		for _, allowed := range r.imports {
			if inner == allowed || strings.HasSuffix(allowed, "/*") && below(inner, strings.TrimSuffix(allowed, "/*")) {
				return true
			}
		}
		return false
	}
	for _, library := range r.libraries {
		if importPath == library || below(importPath, library) {
			return true
		}
	}
	return false
}

// below reports whether a path lies under a directory.
func below(p, directory string) bool { return strings.HasPrefix(p, directory+"/") }
