// Package certificates finds the certificates of services in a standalone configuration: in the files that it names, and
// where it names none by making one that is kept in the user's state folder.
//
// Which of them a client gets is the data plane's to choose; whether one may be used at all is package translate's to say.
package certificates
