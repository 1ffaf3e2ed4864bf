/* Pass open files between processes over a unix socket (SCM_RIGHTS, see unix(7)).
 *
 *     descriptors send SOCKET FILE...        connect to SOCKET and pass each FILE, open for reading,
 *                                            and for writing too where that is allowed
 *     descriptors receive SOCKET TEXT        listen at SOCKET, and describe each file that comes:
 *                                            a line with type, device, inode, access and size, and
 *                                            then its content. Afterwards write TEXT to it.
 *
 * For any container and machine: it is linked statically and needs no other file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FILES = 32, MOST_CONTENT = 65536, SECONDS = 20, WAIT_MS = 5000 };

static void fail(const char *what) {
    fprintf(stderr, "descriptors: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(path);
    }
    strcpy(address.sun_path, path);
    return address;
}

static int send_files(const char *path, char **files, int count) {
    int opened[MOST_FILES];
    if (count < 1 || count > MOST_FILES) {
        errno = EINVAL;
        fail("number of files");
    }
    for (int i = 0; i < count; i++) {
        opened[i] = open(files[i], O_RDWR | O_NONBLOCK | O_NOCTTY);
        if (opened[i] < 0)
            opened[i] = open(files[i], O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (opened[i] < 0)
            fail(files[i]);
    }
    struct sockaddr_un address = address_of(path);
    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    /* The other side may not listen yet. */
    for (int tries = 0; connect(peer, (struct sockaddr *)&address, sizeof address) < 0; tries++) {
        if (tries == SECONDS * 20)
            fail(path);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    union {
        char bytes[CMSG_SPACE(sizeof opened)];
        struct cmsghdr align;
    } control = {{0}};
    char byte = 'd';
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_SPACE(count * sizeof(int)),
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), opened, count * sizeof(int));
    if (sendmsg(peer, &message, 0) < 0)
        fail("sendmsg");
    /* Wait for the end of the other side, so that it describes files that still are open here. */
    while (read(peer, &byte, 1) > 0)
        ;
    return 0;
}

static void describe(int file, const char *text) {
    static const char *access[] = {"r", "w", "rw", "?"};
    static char content[MOST_CONTENT];
    struct stat status;
    if (fstat(file, &status) < 0)
        fail("fstat");
    const char *type = S_ISREG(status.st_mode)    ? "file"
                       : S_ISDIR(status.st_mode)  ? "folder"
                       : S_ISCHR(status.st_mode)  ? "character-device"
                       : S_ISFIFO(status.st_mode) ? "pipe"
                       : S_ISSOCK(status.st_mode) ? "socket"
                                                  : "other";
    size_t size = 0;
    int flags = fcntl(file, F_GETFL);
    struct pollfd ready = {.fd = file, .events = POLLIN};
    while (!S_ISDIR(status.st_mode) && size < sizeof content) {
        if (poll(&ready, 1, S_ISREG(status.st_mode) ? 0 : WAIT_MS) <= 0)
            break;
        ssize_t count = read(file, content + size, sizeof content - size);
        if (count <= 0)
            break; /* the end; a terminal whose other side is closed says EIO */
        size += count;
    }
    printf("%s %u:%u %llu %s %zu\n", type, major(status.st_dev), minor(status.st_dev),
           (unsigned long long)status.st_ino, access[flags & O_ACCMODE], size);
    fwrite(content, 1, size, stdout);
    putchar('\n');
    if (*text && (flags & O_ACCMODE) != O_RDONLY && write(file, text, strlen(text)) < 0)
        fail("write");
}

static int receive_files(const char *path, const char *text) {
    struct sockaddr_un address = address_of(path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0)
        fail(path);
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    if (poll(&ready, 1, SECONDS * 1000) != 1) {
        errno = ETIMEDOUT;
        fail("no connection");
    }
    int peer = accept(listener, NULL, NULL);
    union {
        char bytes[CMSG_SPACE(MOST_FILES * sizeof(int))];
        struct cmsghdr align;
    } control;
    char data[4096]; /* a runtime sends the name of the terminal with it */
    struct iovec vector = {data, sizeof data};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    if (recvmsg(peer, &message, MSG_CMSG_CLOEXEC) < 0)
        fail("recvmsg");
    int found = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        int files[MOST_FILES], count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(files, CMSG_DATA(h), count * sizeof(int));
        for (int i = 0; i < count; i++, found++)
            describe(files[i], text);
    }
    if (!found) {
        fprintf(stderr, "descriptors: the message had no descriptor\n");
        return 1;
    }
    return 0;
}

int main(int count, char **words) {
    if (count >= 4 && !strcmp(words[1], "send"))
        return send_files(words[2], words + 3, count - 3);
    if (count == 4 && !strcmp(words[1], "receive"))
        return receive_files(words[2], words[3]);
    fprintf(stderr, "usage: descriptors send SOCKET FILE... | receive SOCKET TEXT\n");
    return 2;
}
