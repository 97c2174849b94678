// Package kube gives tests a real Kubernetes control plane: kube-apiserver, etcd and kube-controller-manager, and
// processes of the tests' own that stand as pods. There are no nodes and no kubelet: nothing runs but what a test
// starts, and the test says what a kubelet would.
//
// A package of tests begins with
//
//	func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }
//
// which does what harness.Main does and more: it runs the test binary again in a network namespace of its own, in which
// all of 10.99.0.0/16 is local. So pods have addresses that the API server accepts in EndpointSlices (it refuses
// loopback), requests reach them, and every port is free: the API server has always the same one, and tests may bind the
// ports that they like. Nothing outside the namespace can be reached. Root is not needed where the kernel lets users
// have namespaces.
//
// A test then says
//
//	plane, err := kube.Start(kube.Options{CRDs: []string{"../config/crd"}, Scheme: scheme}) // one for all tests
//	ns := plane.Namespace(t)
//	pod := plane.Pod(t, ns, "web-1", map[string]string{"app": "web"}, kube.PodOptions{})
//	plane.Service(t, ns, "web", map[string]string{"app": "web"}, kube.Port("http", 80, "http"))
//
// and real EndpointSlices follow: see Endpoints. A Pod can become not ready, terminate while it still serves, crash and
// come back; a light one is a goroutine instead of a process, for tests that need thousands. ControlPlane.StopAPIServer and
// its siblings take the API server away and give it back. Tests that do so must not be parallel.
//
// The programs come from hack/kubernetes.sh, which builds them if it must. No test is skipped where that fails.
//
// Whatever a test does, nothing stays behind: each process dies with the one that started it, the temporary files are in
// one folder, and a process that outlives its tests fails them. (Who kills the first process of the test binary with
// SIGKILL finds that folder, whose name begins with pingora-proxy-kube-.)
package kube
