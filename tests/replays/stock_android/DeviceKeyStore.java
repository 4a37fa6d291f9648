import android.security.keystore.KeyGenParameterSpec;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.security.InvalidAlgorithmParameterException;
import java.security.Key;
import java.security.KeyStoreSpi;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.Provider;
import java.security.SecureRandom;
import java.security.cert.Certificate;
import java.security.spec.AlgorithmParameterSpec;
import java.util.Collections;
import java.util.Date;
import java.util.Enumeration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.crypto.KeyGeneratorSpi;
import javax.crypto.SecretKey;
import javax.crypto.spec.SecretKeySpec;

/**
 * Stands in for the key store of a device's hardware, which the JVM lacks: AES keys that follow from their alias.
 *
 * <p>A key that follows from its alias is there again after a restart, as on a device. It protects nothing.
 */
public final class DeviceKeyStore extends Provider {
    private static final Set<String> ALIASES = ConcurrentHashMap.newKeySet();

    public DeviceKeyStore() {
        super("AndroidKeyStore", "1", "AES keys of a simulated device");
        put("KeyStore.AndroidKeyStore", Keys.class.getName());
        putService(new Generator(this));
        putService(new Store(this));
    }

    static SecretKey keyOf(String alias) {
        try {
            byte[] bytes = MessageDigest.getInstance("SHA-256").digest(alias.getBytes(StandardCharsets.UTF_8));
            return new SecretKeySpec(bytes, "AES");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    /** Services make their own instances: the JVM's loader cannot see classes of the simulated device. */
    private static final class Store extends Service {
        Store(Provider provider) {
            super(provider, "KeyStore", "AndroidKeyStore", Keys.class.getName(), null, null);
        }

        @Override
        public Object newInstance(Object parameter) {
            return new Keys();
        }
    }

    private static final class Generator extends Service {
        Generator(Provider provider) {
            super(provider, "KeyGenerator", "AES", AesKeys.class.getName(), null, null);
        }

        @Override
        public Object newInstance(Object parameter) {
            return new AesKeys();
        }
    }

    public static final class AesKeys extends KeyGeneratorSpi {
        private String alias = "";

        @Override
        protected void engineInit(AlgorithmParameterSpec spec, SecureRandom random)
                throws InvalidAlgorithmParameterException {
            if (!(spec instanceof KeyGenParameterSpec)) {
                throw new InvalidAlgorithmParameterException("wants a KeyGenParameterSpec");
            }
            alias = ((KeyGenParameterSpec) spec).getKeystoreAlias();
        }

        @Override
        protected void engineInit(SecureRandom random) {}

        @Override
        protected void engineInit(int bits, SecureRandom random) {}

        @Override
        protected SecretKey engineGenerateKey() {
            ALIASES.add(alias);
            return keyOf(alias);
        }
    }

    public static final class Keys extends KeyStoreSpi {
        @Override
        public Key engineGetKey(String alias, char[] password) {
            return ALIASES.contains(alias) ? keyOf(alias) : null;
        }

        @Override
        public boolean engineContainsAlias(String alias) {
            return ALIASES.contains(alias);
        }

        @Override
        public boolean engineIsKeyEntry(String alias) {
            return ALIASES.contains(alias);
        }

        @Override
        public void engineDeleteEntry(String alias) {
            ALIASES.remove(alias);
        }

        @Override
        public Enumeration<String> engineAliases() {
            return Collections.enumeration(ALIASES);
        }

        @Override
        public int engineSize() {
            return ALIASES.size();
        }

        @Override
        public void engineLoad(InputStream in, char[] password) {}

        @Override
        public void engineStore(OutputStream out, char[] password) {}

        @Override
        public Certificate[] engineGetCertificateChain(String alias) {
            return null;
        }

        @Override
        public Certificate engineGetCertificate(String alias) {
            return null;
        }

        @Override
        public Date engineGetCreationDate(String alias) {
            return new Date(0);
        }

        @Override
        public void engineSetKeyEntry(String alias, Key key, char[] password, Certificate[] chain) {
            throw new UnsupportedOperationException();
        }

        @Override
        public void engineSetKeyEntry(String alias, byte[] key, Certificate[] chain) {
            throw new UnsupportedOperationException();
        }

        @Override
        public void engineSetCertificateEntry(String alias, Certificate certificate) {
            throw new UnsupportedOperationException();
        }

        @Override
        public boolean engineIsCertificateEntry(String alias) {
            return false;
        }

        @Override
        public String engineGetCertificateAlias(Certificate certificate) {
            return null;
        }
    }
}
