package basic

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Hashes that other programs have made.
const (
	openBSD  = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"                           // U*U
	quickID  = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"   // password
	quickI   = "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8"    // password
	argon2id = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc" // password
	argon2i  = "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA"  // password
)

func quick(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(h), "$2a$", "$2y$", 1)
}

func start(t testing.TB, list string) *basic {
	t.Helper()
	f, err := Config{Owner: "shop", Users: []byte(list), Realm: `the "shop"`, Header: "X-User"}.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*basic)
}

func encode(name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(name + ":" + password))
}

func ask(f filter.Filter, values ...string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}, ClientIP: netip.MustParseAddr("10.0.0.1")}
	x.Request.Method = exchange.GET
	x.Request.Header.Add("x_user", "root")
	for _, v := range values {
		x.Request.Header.Add("Authorization", v)
	}
	verdict := f.Request(x)
	if (verdict == filter.Respond) != (x.Response.Status != 0) {
		panic("the verdict does not fit the answer")
	}
	return x
}

func said(x *exchange.Exchange) string {
	if x.Response.Status == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s", x.Response.Status, x.Record.Reason)
}

func TestRequest(t *testing.T) {
	f := start(t, "# people\r\nalice:"+quick(t, "wonder:land")+"\r\n\n  \nbob:"+openBSD+" \ncarol:"+quickID+"\ndave:"+quickI+"\nünï:"+quick(t, "pässword")+
		"\nempty:"+quick(t, "")+"\nlong:"+quick(t, strings.Repeat("x", 72)))
	for name, test := range map[string]struct {
		values []string
		want   string
		user   string
	}{
		"bcrypt":           {[]string{"Basic " + encode("alice", "wonder:land")}, "", "alice"},
		"scheme":           {[]string{"bAsIc  " + encode("alice", "wonder:land")}, "", "alice"},
		"another's bcrypt": {[]string{"Basic " + encode("bob", "U*U")}, "", "bob"},
		"argon2id":         {[]string{"Basic " + encode("carol", "password")}, "", "carol"},
		"argon2i":          {[]string{"Basic " + encode("dave", "password")}, "", "dave"},
		"UTF-8":            {[]string{"Basic " + encode("ünï", "pässword")}, "", "ünï"},
		"no password":      {[]string{"Basic " + encode("empty", "")}, "", "empty"},
		"72 bytes count":   {[]string{"Basic " + encode("long", strings.Repeat("x", 80))}, "", "long"},
		"wrong":            {[]string{"Basic " + encode("alice", "wonderland")}, "401 credentials_invalid", ""},
		"another's":        {[]string{"Basic " + encode("alice", "U*U")}, "401 credentials_invalid", ""},
		"case of a name":   {[]string{"Basic " + encode("Alice", "wonder:land")}, "401 credentials_invalid", ""},
		"nobody":           {[]string{"Basic " + encode("", "")}, "401 credentials_invalid", ""},
		"unknown":          {[]string{"Basic " + encode("mallory", "wonder:land")}, "401 credentials_invalid", ""},
		"wrong argon2":     {[]string{"Basic " + encode("carol", "Password")}, "401 credentials_invalid", ""},
		"no colon":         {[]string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alice"))}, "401 credentials_invalid", ""},
		"no base64":        {[]string{"Basic alice:wonder:land"}, "401 credentials_invalid", ""},
		"a line break":     {[]string{"Basic YWxp\tY2U6d29uZGVyOmxhbmQ="}, "401 credentials_invalid", ""},
		"control":          {[]string{"Basic " + encode("empty", "\x00")}, "401 credentials_invalid", ""},
		"too long":         {[]string{"Basic " + encode("alice", strings.Repeat("x", 1024))}, "401 credentials_invalid", ""},
		"nothing":          {nil, "401 unauthorized", ""},
		"other scheme":     {[]string{"Bearer x"}, "401 unauthorized", ""},
		"no credentials":   {[]string{"Basic"}, "401 unauthorized", ""},
		"several":          {[]string{"Basic " + encode("alice", "wonder:land"), "Basic x"}, "400 bad_request", ""},
	} {
		for range 2 { // also when it is remembered
			x := ask(f, test.values...)
			if got := said(x); got != test.want || x.Identity.User != test.user {
				t.Errorf("%s: %q, user %q; want %q, %q", name, got, x.Identity.User, test.want, test.user)
			}
			if test.want != "" {
				if v, _ := x.Response.Header.Get("WWW-Authenticate"); string(v) != `Basic realm="the \"shop\"", charset="UTF-8"` {
					t.Errorf("%s: challenge %s", name, v)
				}
				continue
			}
			if v, _ := x.Request.Header.Get("X-User"); string(v) != test.user {
				t.Errorf("%s: X-User %q", name, v)
			}
			if _, ok := x.Request.Header.Get("x_user"); ok || !x.Request.Header.Has(exchange.Authorization) {
				t.Errorf("%s: the client's own field is left, or Authorization is gone", name)
			}
		}
	}
}

// slow is a hash that waits for its turn; the password is right where it is "right".
type slow struct {
	turn  chan struct{}
	begun chan struct{}
}

func (s *slow) matches(password []byte) bool {
	s.begun <- struct{}{}
	<-s.turn
	return string(password) == "right"
}

func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slow{make(chan struct{}), make(chan struct{}, 1000)}
		j := newJudge([]user{{"alice", h}})
		slots := cap(j.slots)
		client := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
		var mu sync.Mutex
		got := map[verdict]int{}
		count := func(v verdict) int {
			mu.Lock()
			defer mu.Unlock()
			return got[v]
		}
		var all sync.WaitGroup
		try := func(name, password string, from netip.Addr) {
			all.Go(func() {
				v := j.hash(j.digest([]byte(name+password)), name, []byte(password), from)
				mu.Lock()
				defer mu.Unlock()
				got[v]++
			})
		}
		for i := range maxJobs + 50 {
			try("alice", fmt.Sprint(i), client(i))
		}
		synctest.Wait()
		if len(h.begun) != slots || count(unknown) != 50 {
			t.Errorf("%d hash at once of %d; %d are refused", len(h.begun), slots, count(unknown))
		}
		time.Sleep(patience)
		synctest.Wait()
		if count(unknown) != maxJobs+50-slots {
			t.Errorf("after a while: %d are refused", count(unknown))
		}
		close(h.turn)
		all.Wait()
		if got[wrong] != slots || len(j.flights)+len(j.peers)+len(j.right) != 0 {
			t.Errorf("in the end: %v; %d, %d, %d", got, len(j.flights), len(j.peers), len(j.right))
		}
	})
}

func TestOneClientsFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slow{make(chan struct{}), make(chan struct{}, 1000)}
		j := newJudge([]user{{"alice", h}})
		var mu sync.Mutex
		got := map[verdict]int{}
		count := func(v verdict) int {
			mu.Lock()
			defer mu.Unlock()
			return got[v]
		}
		var all sync.WaitGroup
		for i := range 20 {
			from := netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)})
			all.Go(func() {
				v := j.hash(j.digest(fmt.Append(nil, i)), "alice", fmt.Append(nil, i), from)
				mu.Lock()
				defer mu.Unlock()
				got[v]++
			})
		}
		synctest.Wait()
		if count(unknown) != 20-maxPerPeer {
			t.Errorf("%d are refused", count(unknown))
		}
		close(h.turn)
		all.Wait()
	})
}

// A page has many parts: they come at once, with the same password.
func TestOneHashForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slow{make(chan struct{}), make(chan struct{}, 1000)}
		j := newJudge([]user{{"alice", h}})
		of := j.digest([]byte("x"))
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if v := j.hash(of, "alice", []byte("right"), netip.MustParseAddr("10.0.0.1")); v != right {
					t.Errorf("verdict %d", v)
				}
			})
		}
		synctest.Wait()
		close(h.turn)
		all.Wait()
		if n := len(h.begun); n != 1 {
			t.Errorf("%d hashes", n)
		}
		if name, ok := j.remembers(of, time.Now().Add(remembered-time.Second)); !ok || name != "alice" {
			t.Error("it is not remembered")
		}
		if _, ok := j.remembers(of, time.Now().Add(remembered+time.Second)); ok || len(j.right) != 0 {
			t.Error("it is remembered for too long")
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	j := newJudge([]user{{"alice", bcryptHash(nil)}})
	now := time.Now()
	for i := range 3 * maxRight {
		j.remember(j.digest(fmt.Append(nil, i)), "alice", now.Add(time.Duration(i)*time.Second))
	}
	if len(j.right) > maxRight {
		t.Errorf("%d are remembered", len(j.right))
	}
	if _, ok := j.remembers(j.digest(fmt.Append(nil, 3*maxRight-1)), now); !ok {
		t.Error("the newest is not")
	}
}

// counting counts who is compared.
type counting struct{ n int }

func (c *counting) matches([]byte) bool { c.n++; return true }

func TestUnknownNamesCost(t *testing.T) {
	a, b := &counting{}, &counting{}
	j := newJudge([]user{{"alice", a}, {"bob", b}})
	for i := range 100 {
		if j.compare(fmt.Sprint("x", i), nil) != wrong {
			t.Fatal("a name that is not in the list is let in")
		}
	}
	if a.n+b.n != 100 || a.n == 0 || b.n == 0 {
		t.Errorf("%d and %d hashes", a.n, b.n)
	}
	a.n, b.n = 0, 0
	for range 10 {
		j.compare("mallory", nil)
	}
	if a.n*b.n != 0 {
		t.Error("one name has two hashes: what it takes would tell that it is unknown")
	}
}

func TestValidate(t *testing.T) {
	good := "alice:" + quick(t, "x") + "\n"
	for name, test := range map[string]struct {
		c    Config
		want string
	}{
		"good":          {Config{Users: []byte(good)}, ""},
		"empty":         {Config{}, "users: there is no user"},
		"comment":       {Config{Users: []byte("# canary\n")}, "there is no user"},
		"plain":         {Config{Users: []byte(good + "bob:canary\n")}, "line 2: the hash is none of bcrypt"},
		"MD5":           {Config{Users: []byte("\nbob:$apr1$canary$\n")}, "line 2: the hash is none"},
		"SHA-1":         {Config{Users: []byte("bob:{SHA}canary")}, "line 1: the hash is none"},
		"crypt":         {Config{Users: []byte("bob:$6$canary$x")}, "line 1: the hash is none"},
		"2x":            {Config{Users: []byte("bob:" + strings.Replace(openBSD, "2a", "2x", 1))}, "the hash is none"},
		"argon2d":       {Config{Users: []byte("bob:" + strings.Replace(argon2i, "2i", "2d", 1))}, "the hash is none"},
		"no colon":      {Config{Users: []byte(good + "canary")}, "line 2: it is not `name:hash`"},
		"twice":         {Config{Users: []byte(good + good)}, "line 2: the name is there already"},
		"no name":       {Config{Users: []byte(":" + openBSD)}, "a name has 1 to"},
		"space":         {Config{Users: []byte(" canary:" + openBSD)}, "a name has 1 to"},
		"control":       {Config{Users: []byte("can\x00ary:" + openBSD)}, "a name has 1 to"},
		"long name":     {Config{Users: []byte(strings.Repeat("x", 256) + ":" + openBSD)}, "a name has 1 to"},
		"costly bcrypt": {Config{Users: []byte("bob:" + strings.Replace(openBSD, "$05$", "$15$", 1))}, "is 15; 14 is allowed"},
		"short bcrypt":  {Config{Users: []byte("bob:" + openBSD[:59])}, "line 1: the bcrypt hash cannot be read"},
		"long bcrypt":   {Config{Users: []byte("bob:" + openBSD + "x")}, "cannot be read"},
		"odd bcrypt":    {Config{Users: []byte("bob:" + strings.Replace(openBSD, "CC", "C:", 1))}, "cannot be read"},
		"memory":        {Config{Users: []byte("bob:" + strings.Replace(argon2id, "65536", "65537", 1))}, "asks for m=65537"},
		"passes":        {Config{Users: []byte("bob:" + strings.Replace(argon2id, "t=2", "t=5", 1))}, "asks for"},
		"threads":       {Config{Users: []byte("bob:" + strings.Replace(argon2id, "p=1", "p=17", 1))}, "asks for"},
		"no memory":     {Config{Users: []byte("bob:" + strings.Replace(argon2id, "65536", "7", 1))}, "cannot be read"},
		"old version":   {Config{Users: []byte("bob:" + strings.Replace(argon2id, "v=19", "v=16", 1))}, "cannot be read"},
		"short sum":     {Config{Users: []byte("bob:" + argon2id[:60])}, "cannot be read"},
		"long list":     {Config{Users: []byte(good + strings.Repeat("#canary\n", maxList/8))}, "more than 1048576 bytes"},
		"realm":         {Config{Users: []byte(good), Realm: "canary\n"}, "realm: it cannot"},
		"header":        {Config{Users: []byte(good), Header: "Host"}, `header "Host"`},
	} {
		err := test.c.Validate()
		f, err2 := test.c.New(filter.Env{})
		switch {
		case test.want == "":
			if err != nil || err2 != nil {
				t.Errorf("%s: %v, %v", name, err, err2)
			}
		case err == nil || !strings.Contains(err.Error(), test.want) || err2 == nil || f != nil:
			t.Errorf("%s: %v; want %q", name, err, test.want)
		case strings.Contains(err.Error(), "canary"):
			t.Errorf("%s: a secret is told: %v", name, err)
		}
	}
}

func TestKey(t *testing.T) {
	c := Config{Owner: "a", Users: []byte("b"), Realm: "c", Header: "d"}
	for name, other := range map[string]Config{
		"owner": {"x", []byte("b"), "c", "d"}, "users": {"a", []byte("x"), "c", "d"}, "realm": {"a", []byte("b"), "x", "d"}, "header": {"a", []byte("b"), "c", "x"},
	} {
		if other.Key() == c.Key() {
			t.Errorf("%s is not in the key", name)
		}
	}
	if k := (Config{Users: []byte("canary")}).Key(); strings.Contains(k, "canary") {
		t.Errorf("%s holds the list", k)
	}
}

func FuzzUsers(f *testing.F) {
	f.Add([]byte("alice:" + openBSD + "\nbob:" + argon2id))
	f.Fuzz(func(t *testing.T, list []byte) {
		users, err := parseUsers(list)
		if (err == nil) != (len(users) > 0) {
			t.Errorf("%d users, %v", len(users), err)
		}
		for _, u := range users {
			if !filter.SafeValue(u.name) || strings.Contains(u.name, ":") {
				t.Errorf("the name %q", u.name)
			}
			if h, ok := u.hash.(*argonHash); ok && (h.memory > maxMemory || len(h.sum) < 16) {
				t.Errorf("%+v", h)
			}
		}
	})
}

func FuzzCredentials(f *testing.F) {
	f.Add(encode("a", "b"))
	f.Fuzz(func(t *testing.T, text string) {
		name, password, ok := parse([]byte(text))
		if ok && encode(name, string(password)) != text {
			t.Errorf("%q is %q and %q", text, name, password)
		}
	})
}

func BenchmarkRemembered(b *testing.B) {
	f := start(b, "alice:"+quick(b, "secret"))
	value := "Basic " + encode("alice", "secret")
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Header.Add("Host", "shop.example.com")
		x.Request.Header.Add("Authorization", value)
		if f.Request(&x) != filter.Continue {
			b.Fatal(said(&x))
		}
	}
}
