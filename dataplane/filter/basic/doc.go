// Package basic is the filter that asks for a name and a password (RFC 7617) and looks them up in a list as htpasswd
// writes it, whose hashes are of bcrypt or argon2.
//
// Such hashes are slow, and that is what they are for. So a password that was right is remembered for a short time, by a
// digest under a key that never leaves the process; few are hashed at once, and who comes above that is told to come
// again. A name that is not in the list takes as long as one that is.
package basic
