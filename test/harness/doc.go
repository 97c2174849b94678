// Package harness runs the real program for black-box tests, and plays what stands around it: clients and origins.
//
// A package of tests begins with
//
//	func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
//
// which lets the test binary play an origin process (StartOriginProcess), removes what was built, and finds goroutines
// that a test has left. A test then says
//
//	origin := harness.StartOrigin(t, harness.Echo("a"))
//	p := harness.Start(t, "services: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['"+origin.Addr+"']}]", harness.Options{})
//	client := harness.Dial(t, p.Addr(t, "web"))
//
// Every address is one with port 0, so that tests run side by side. What a test started is stopped when it ends, and a
// proxy that does not end with exit code 0, that leaves a process behind or that has a data race fails its test.
//
// Nothing here sleeps: Eventually asks for a condition until it holds. Everything else that waits has a deadline, after
// which the test fails. Methods that may fail take the *testing.T of the test or subtest that calls them, from its own
// goroutine.
package harness
