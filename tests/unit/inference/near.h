#ifndef MEDAID_TESTS_NEAR_H
#define MEDAID_TESTS_NEAR_H

/* cmocka's assert_float_equal compares in float32; this does in double precision. Include after
 * cmocka.h. */
#define assert_near(value, wanted, tolerance)                                                  \
    do {                                                                                       \
        const double near_value_ = (double)(value), near_wanted_ = (double)(wanted);           \
        if (!(fabs(near_value_ - near_wanted_) <= (double)(tolerance))) {                      \
            fail_msg("%.9g is not %.9g within %g", near_value_, near_wanted_,                  \
                     (double)(tolerance));                                                     \
        }                                                                                      \
    } while (0)

#endif
