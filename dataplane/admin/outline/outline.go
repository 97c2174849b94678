package outline

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A Part is one field of a snapshot, or one item of a list: "timeouts", "[shop/api]". What has a zero value has no Part.
type Part struct {
	Name    string `json:"name"`
	Value   string `json:"value,omitempty"`
	Ordered bool   `json:"ordered,omitempty"` // in which order its items stand makes a difference
	Parts   []Part `json:"parts,omitempty"`
}

// Other is the name of the Part that stands for everything in a filter, also for what has no Part of its own.
const Other = "other settings"

// selfSigned is the name of certificates that a process makes for itself: another one makes another, which means nothing.
const selfSigned = "self-signed"

// maxDepth is deeper than any snapshot is.
const maxDepth = 24

// tag is the key of the struct tag that says how a field is shown: "secret", "show", "url" for a URL or a path whose query
// may be a secret, or "-" for not at all.
const tag = "outline"

// Of writes a snapshot down, without its hash. Texts below a field of the snapshot that is tagged `outline:"secret"`, keys
// and certificates, and every text of a filter's settings that is not tagged `outline:"show"` become digests that go by the
// salt. Numbers, durations and addresses are never secret.
func Of(s *snapshot.Snapshot, salt []byte) []Part {
	if s == nil {
		return nil
	}
	w := walker{salt: salt}
	whole, _ := w.part("", reflect.ValueOf(*s), byType, 0)
	return slices.DeleteFunc(whole.Parts, func(p Part) bool { return p.Name == "hash" })
}

// A mode says whether texts are shown. What a tag says of a field holds for everything below it.
type mode uint8

const (
	byType mode = iota // those of the snapshot's own types are, others are not
	shown
	secret
	address // up to its query
)

type walker struct{ salt []byte }

const digestMark = "(secret "

// Digest stands for a secret.
func Digest(salt, secret []byte) string {
	h := hmac.New(sha256.New, salt)
	h.Write(secret)
	return digestMark + hex.EncodeToString(h.Sum(nil)[:6]) + ")"
}

// part describes a value. It returns false for one that is zero.
func (w walker) part(name string, v reflect.Value, m mode, depth int) (Part, bool) {
	p := Part{Name: name}
	if depth > maxDepth {
		p.Value = "(deeper than can be shown)"
		return p, true
	}
	if text, ok := w.text(v, m); ok {
		p.Value = text
		return p, text != ""
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return p, false
		}
		inner, set := w.part(name, v.Elem(), m, depth+1)
		if !set {
			inner.Value = "set" // a pointer to zero says something else than none
			if k := v.Elem().Kind(); k != reflect.Struct {
				inner.Value = fmt.Sprint(v.Elem())
			}
		}
		return inner, true
	case reflect.Struct:
		p.Parts = w.fields(v, m, depth)
	case reflect.Slice, reflect.Array:
		p.Parts, p.Ordered = w.items(v, m, depth)
	case reflect.Map:
		p.Parts = w.entries(v, m, depth)
	}
	return p, len(p.Parts) > 0
}

func (w walker) fields(v reflect.Value, m mode, depth int) (parts []Part) {
	own := v.Type().PkgPath() == reflect.TypeFor[snapshot.Snapshot]().PkgPath()
	certificate, _ := v.Interface().(snapshot.Certificate)
	made := certificate.Name == selfSigned
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if made && (f.Name == "Chain" || f.Name == "Key") {
			continue
		}
		of := m
		switch f.Tag.Get(tag) {
		case "-":
			continue
		case "secret":
			of = secret
		case "show":
			of = shown
		case "url":
			of = address
		default:
			if m == byType && !own {
				of = secret
			}
		}
		if service, ok := v.Field(i).Interface().(*snapshot.Service); ok { // a route's: services have Parts of their own
			if service != nil {
				parts = append(parts, Part{Name: snake(f.Name), Value: path.Join(service.Namespace, service.Name)})
			}
			continue
		}
		if f.Name == "MinVersion" && f.Type.Kind() == reflect.Uint16 && v.Field(i).Uint() != 0 {
			parts = append(parts, Part{Name: snake(f.Name), Value: tls.VersionName(uint16(v.Field(i).Uint()))})
			continue
		}
		if p, ok := w.part(snake(f.Name), v.Field(i), of, depth+1); ok {
			parts = append(parts, p)
		}
	}
	return parts
}

// items are those of a list of structs.
func (w walker) items(v reflect.Value, m mode, depth int) (parts []Part, ordered bool) {
	seen := map[string]int{}
	for i := range v.Len() {
		item := v.Index(i)
		key, own, matters := identity(item, i)
		ordered = ordered || matters
		if seen[key]++; seen[key] > 1 {
			key = fmt.Sprintf("%s, %d", key, seen[key])
		}
		p, _ := w.part("["+key+"]", item, m, depth+1)
		if config, ok := item.Interface().(interface{ Key() string }); ok {
			p.Parts = append(p.Parts, Part{Name: Other, Value: Digest(w.salt, []byte(config.Key()))})
		}
		// What the name says already is not said again.
		p.Parts = slices.DeleteFunc(p.Parts, func(inner Part) bool { return slices.Contains(own, inner.Name) })
		parts = append(parts, p)
	}
	return parts, ordered
}

// identity names an item of a list so that it is found again in another snapshot, says which of its fields the name
// holds, and whether the order of such items matters.
func identity(item reflect.Value, i int) (name string, own []string, ordered bool) {
	switch x := item.Interface().(type) {
	case *snapshot.Listener:
		return x.Address, []string{"address"}, false
	case *snapshot.Service:
		return path.Join(x.Namespace, x.Name), []string{"namespace", "name"}, true
	case *snapshot.Route:
		if x.Service == nil {
			return x.Name, []string{"name"}, true
		}
		return path.Join(x.Service.Namespace, x.Service.Name, x.Name), []string{"service", "name"}, true
	case *snapshot.Stream:
		return path.Join(x.Namespace, x.Name), []string{"namespace", "name"}, true
	case *snapshot.Cluster:
		return x.ID, []string{"id"}, false
	case snapshot.Endpoint:
		return x.Addr.String(), []string{"addr"}, false
	case snapshot.WeightedCluster:
		return x.Cluster, []string{"cluster"}, false
	}
	if item.Kind() == reflect.Interface && !item.IsNil() { // a filter: its place and its package
		t := item.Elem().Type()
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		return fmt.Sprintf("%d %s", i, path.Base(t.PkgPath())), nil, false
	}
	return strconv.Itoa(i), nil, false
}

func (w walker) entries(v reflect.Value, m mode, depth int) (parts []Part) {
	for _, key := range v.MapKeys() {
		name := fmt.Sprint(key.Interface())
		if m == secret {
			name = Digest(w.salt, []byte(name))
		}
		p, ok := w.part("["+name+"]", v.MapIndex(key), m, depth+1)
		if !ok {
			p.Value = "set"
		}
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Compare(a.Name, b.Name) })
	return parts
}

// text says a value in one line, where it is one. That of a zero value is empty.
func (w walker) text(v reflect.Value, m mode) (text string, ok bool) {
	if text, ok := named(v); ok {
		return text, true
	}
	switch v.Kind() {
	case reflect.String:
		return w.hide(v.String(), m), true
	case reflect.Bool:
		if !v.Bool() {
			return "", true
		}
		return "true", true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return number(v.Int()), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return number(v.Uint()), true
	case reflect.Float32, reflect.Float64:
		if v.Float() == 0 {
			return "", true
		}
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		if v.IsZero() {
			return "", true
		}
		return "(cannot be shown)", true
	case reflect.Slice, reflect.Array:
		return w.list(v, m)
	}
	return "", false
}

// named is the text of types that have a form of their own.
func named(v reflect.Value) (text string, ok bool) {
	switch x := v.Interface().(type) {
	case snapshot.PathType:
		return choice(x, "Prefix", "Exact", "Regex")
	case snapshot.Algorithm:
		return choice(x, "RoundRobin", "LeastRequest", "Random", "ConsistentHash")
	case snapshot.CheckType:
		return choice(x, "TCP", "HTTP", "Disabled", "GRPC")
	case snapshot.HashOn:
		return choice(x, "", "ClientIP", "Header", "Cookie", "Path")
	case snapshot.Protocol:
		return choice(x, "HTTP/1.1", "HTTP/2")
	case time.Duration:
		if x == 0 {
			return "", true
		}
		return x.String(), true
	case netip.Addr:
		return valid(x, x.IsValid()), true
	case netip.AddrPort:
		return valid(x, x.IsValid()), true
	case netip.Prefix:
		return valid(x, x.IsValid()), true
	case fmt.Stringer:
		if k := v.Kind(); reflect.Int <= k && k <= reflect.Uint64 {
			return x.String(), true
		}
	}
	return "", false
}

// choice names an enumerated value; one that has no name yet is a number.
func choice[T ~uint8](v T, all ...string) (string, bool) {
	if int(v) < len(all) {
		return all[v], true
	}
	return strconv.Itoa(int(v)), true
}

func valid(v fmt.Stringer, ok bool) string {
	if !ok {
		return ""
	}
	return v.String()
}

func number[T int64 | uint64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (w walker) hide(text string, m mode) string {
	if m == secret && text != "" {
		return Digest(w.salt, []byte(text))
	}
	if before, query, found := strings.Cut(text, "?"); m == address && found {
		return Public(before, w.salt) + "?" + Digest(w.salt, []byte(query))
	}
	return Public(text, w.salt)
}

// Hidden reports whether a text that Of or Public made has a digest in it.
func Hidden(text string) bool { return strings.Contains(text, digestMark) }

// Public is a text as it may be shown: in place of the password of a URL stands a digest.
func Public(text string, salt []byte) string {
	if !strings.Contains(text, "://") || !strings.Contains(text, "@") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return Digest(salt, []byte(text)) // nobody knows what it holds
	}
	if u.User == nil {
		return text
	}
	secret := Digest(salt, []byte(u.User.String()))
	u.User = nil
	return u.Scheme + "://" + secret + "@" + strings.TrimPrefix(u.String(), u.Scheme+"://")
}

// list says a list of plain values in one line. Bytes are certificates, keys and the like.
func (w walker) list(v reflect.Value, m mode) (text string, ok bool) {
	if v.Len() == 0 {
		return "", true
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if _, enumerated := named(v.Index(0)); !enumerated {
			all := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(all), v.Convert(reflect.TypeFor[[]byte]()))
			return Digest(w.salt, all), true
		}
	}
	texts := make([]string, v.Len())
	for i := range texts {
		text, plain := w.text(v.Index(i), shown)
		if !plain {
			return "", false
		}
		if text == "" {
			text = "0"
			if v.Index(i).Kind() == reflect.String {
				text = "''"
			}
		}
		texts[i] = text
	}
	if kind := v.Type().Elem().Kind(); m == secret && kind == reflect.String {
		return Digest(w.salt, fmt.Append(nil, texts)), true
	}
	return "[" + strings.Join(texts, ", ") + "]", true
}

// snake spells the name of a field as a configuration does: PerTryTimeout is per_try_timeout, and MaxTLSConns max_tls_conns.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
