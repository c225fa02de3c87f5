// The four functions of C11 7.24 to which compilers generate calls; the firmware has no libc.
#include <stddef.h>
#include <stdint.h>

#define KEPT __attribute__((used))  // with -flto gcc drops what nothing calls before it generates calls to it
KEPT void *memcpy(void *restrict to, const void *restrict from, size_t count);
KEPT void *memmove(void *to, const void *from, size_t count);
KEPT void *memset(void *to, int value, size_t count);
KEPT int memcmp(const void *a, const void *b, size_t count);

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    for (size_t i = 0; i < count; i++) {
        t[i] = f[i];
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)t <= (uintptr_t)f) {
        for (size_t i = 0; i < count; i++) {
            t[i] = f[i];
        }
        return to;
    }
    for (size_t i = count; i > 0; i--) {
        t[i - 1] = f[i - 1];
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    uint8_t *t = to;
    for (size_t i = 0; i < count; i++) {
        t[i] = (uint8_t)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const uint8_t *p = a;
    const uint8_t *q = b;
    for (size_t i = 0; i < count; i++) {
        if (p[i] != q[i]) {
            return p[i] - q[i];
        }
    }
    return 0;
}

// Arm RTABI 4.3.4: clang calls these instead. The suffixes 4 and 8 promise an alignment, which is
// not needed here.

void __aeabi_memset(void *to, size_t count, int value);
void __aeabi_memclr(void *to, size_t count);

void __aeabi_memset(void *to, size_t count, int value)
{
    (void)memset(to, value, count);
}

void __aeabi_memclr(void *to, size_t count)
{
    (void)memset(to, 0, count);
}

void __aeabi_memset4(void *to, size_t count, int value) __attribute__((alias("__aeabi_memset")));
void __aeabi_memset8(void *to, size_t count, int value) __attribute__((alias("__aeabi_memset")));
void __aeabi_memclr4(void *to, size_t count) __attribute__((alias("__aeabi_memclr")));
void __aeabi_memclr8(void *to, size_t count) __attribute__((alias("__aeabi_memclr")));
void *__aeabi_memcpy(void *restrict to, const void *restrict from, size_t count)
    __attribute__((alias("memcpy")));
void *__aeabi_memcpy4(void *restrict to, const void *restrict from, size_t count)
    __attribute__((alias("memcpy")));
void *__aeabi_memcpy8(void *restrict to, const void *restrict from, size_t count)
    __attribute__((alias("memcpy")));
void *__aeabi_memmove(void *to, const void *from, size_t count) __attribute__((alias("memmove")));
void *__aeabi_memmove4(void *to, const void *from, size_t count) __attribute__((alias("memmove")));
void *__aeabi_memmove8(void *to, const void *from, size_t count) __attribute__((alias("memmove")));
